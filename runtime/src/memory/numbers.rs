//! Numbers in the small text files of the kernel, read without allocating: the thread that reads them is there for the
//! moment in which memory is short.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Larger than any of these files.
const FILE_BYTES: usize = 8192;

/// A small text file that the kernel writes anew each time it is read.
#[derive(Debug)]
pub(super) struct Numbers(File);

impl Numbers {
    /// `None` if there is no such file, or it may not be read.
    pub(super) fn open(path: &Path) -> Option<Numbers> {
        File::open(path).ok().map(Numbers)
    }

    /// What `parse` finds in the text now.
    pub(super) fn read<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let mut bytes = [0; FILE_BYTES];
        let mut len = 0;
        // Some of these files come in several pieces.
        while let Some(rest) = bytes.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, len as u64) {
                Ok(0) => break,
                Ok(taken) => len += taken,
                Err(_) => return None,
            }
        }
        parse(std::str::from_utf8(bytes.get(..len)?).ok()?)
    }
}

/// The file's one unsigned number; `None` for `max`, for `-1` and for anything else.
pub(super) fn only(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number behind `key` at the start of a line, after spaces or a colon.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix([' ', ':', '\t']))?;
    value.split_whitespace().next()?.parse().ok()
}

/// `full avg10=1.23` of pressure stall information: the part of the last 10 s, in percent, in which nobody got on.
pub(super) fn full_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("full "))?;
    line.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{full_avg10, keyed, only};

    #[test]
    fn numbers_are_found_by_whole_keys_and_nonsense_is_nothing() {
        let text = "oom 1\noom_kill 3\nMemTotal:       16384 kB\nbad x\n";
        assert_eq!(
            (keyed(text, "oom_kill"), keyed(text, "oom"), keyed(text, "MemTotal")),
            (Some(3), Some(1), Some(16384))
        );
        assert_eq!((keyed(text, "Mem"), keyed(text, "bad"), keyed("", "oom")), (None, None, None));
        assert_eq!((only("12\n"), only("max\n"), only("-1")), (Some(12), None, None));
    }

    #[test]
    fn the_stall_of_all_processes_is_read() {
        let text = "some avg10=9.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.25 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(full_avg10(text), Some(1.25));
        assert_eq!(full_avg10("some avg10=9.00"), None);
    }
}
