//! Which signals the process was started with as ignored.

/// The signals that this process ignores, as a mask in which bit 0 is signal 1; from Linux's `/proc`, and 0 elsewhere.
pub(super) fn at_start() -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| parse(&status))
}

pub(super) fn parse(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

pub(super) fn is_in(mask: u64, number: i32) -> bool {
    (1..=64).contains(&number) && mask >> (number - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::{is_in, parse};

    #[test]
    fn the_mask_of_ignored_signals_is_read_from_what_the_kernel_says() {
        let mask = parse("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\tffffffffffffffff\n");
        assert!(is_in(mask, 1) && is_in(mask, 13) && !is_in(mask, 2));
        assert_eq!((parse(""), parse("SigIgn:\tzz")), (0, 0));
        assert!(!is_in(u64::MAX, 0) && !is_in(u64::MAX, 65));
    }
}
