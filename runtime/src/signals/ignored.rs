//! Which signals the process was started with as ignored.

/// Signals that are ignored, as a mask in which bit 0 is signal 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ignored(u64);

/// The signals that this process ignores; from Linux's `/proc`, and none elsewhere. To be asked before any is handled.
pub fn ignored_at_start() -> Ignored {
    std::fs::read_to_string("/proc/self/status").map_or(Ignored(0), |status| parse(&status))
}

fn parse(status: &str) -> Ignored {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    Ignored(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
}

impl Ignored {
    /// Whether a signal is among them.
    pub fn contains(self, number: i32) -> bool {
        (1..=64).contains(&number) && self.0 >> (number - 1) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::{Ignored, parse};

    #[test]
    fn the_mask_of_ignored_signals_is_read_from_what_the_kernel_says() {
        let mask = parse("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\tffffffffffffffff\n");
        assert!(mask.contains(1) && mask.contains(13) && !mask.contains(2));
        assert_eq!((parse(""), parse("SigIgn:\tzz")), (Ignored(0), Ignored(0)));
        assert!(!Ignored(u64::MAX).contains(0) && !Ignored(u64::MAX).contains(65));
    }
}
