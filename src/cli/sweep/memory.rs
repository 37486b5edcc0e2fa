//! Whether there is memory for one more trial.

use crate::report::recorded::Recorded;
use std::fs;
use std::path::Path;
use trainer_runtime::memory::headroom_bytes;

/// What is known of the memory that trials take.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The most that a trial has had at any time.
    peak_bytes: u64,
    /// Whether one has got as far as its first step, after which it takes hardly more.
    is_settled: bool,
    has_said: bool,
}

/// Whether another trial may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Start,
    /// It is not known yet what a trial takes.
    NotKnown,
    Short {
        left_bytes: u64,
        needed_bytes: u64,
    },
}

impl Room {
    /// Judges by the running trials: their processes and folders.
    pub(super) fn judge<'t>(&mut self, running: impl Iterator<Item = (u32, &'t Path)>) -> Verdict {
        let mut resident = Vec::new();
        for (pid, dir) in running {
            let (now_bytes, peak_bytes) = taken(pid).unwrap_or_default();
            resident.push(now_bytes);
            self.peak_bytes = self.peak_bytes.max(peak_bytes);
            self.is_settled = self.is_settled || has_stepped(dir);
        }
        if resident.is_empty() {
            return Verdict::Start;
        }
        verdict(headroom_bytes(Path::new("/")), self.is_settled.then_some(self.peak_bytes), &resident)
    }

    /// A trial has come to its end: what it took is known.
    pub(super) fn ended(&mut self) {
        self.is_settled = self.is_settled || self.peak_bytes > 0;
    }

    /// What to say of a shortage, once.
    pub(super) fn words(&mut self, verdict: &Verdict) -> Option<String> {
        let Verdict::Short { left_bytes, needed_bytes } = verdict else { return None };
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let words = format!(
            "no further trial for now: it would take {} MB, and {} MB are left beside those that run",
            megabytes(*needed_bytes),
            megabytes(*left_bytes)
        );
        (!std::mem::replace(&mut self.has_said, true)).then_some(words)
    }
}

/// Each running trial may still grow to the peak, and one more needs that much.
fn verdict(headroom_bytes: Option<u64>, peak_bytes: Option<u64>, resident_bytes: &[u64]) -> Verdict {
    let Some(headroom_bytes) = headroom_bytes else { return Verdict::Start };
    let Some(needed_bytes) = peak_bytes else { return Verdict::NotKnown };
    let to_grow: u64 = resident_bytes.iter().map(|bytes| needed_bytes.saturating_sub(*bytes)).sum();
    let left_bytes = headroom_bytes.saturating_sub(to_grow);
    if left_bytes >= needed_bytes { Verdict::Start } else { Verdict::Short { left_bytes, needed_bytes } }
}

/// What a process has in memory, and the most it had.
fn taken(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |key: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((bytes("VmRSS")?, bytes("VmHWM")?))
}

fn has_stepped(dir: &Path) -> bool {
    Recorded::read(dir).is_ok_and(|recorded| !recorded.history.steps.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Verdict, taken, verdict};

    #[test]
    fn one_more_starts_when_all_can_grow_to_the_peak() {
        assert_eq!(verdict(Some(100), Some(40), &[40]), Verdict::Start);
        assert_eq!(verdict(Some(100), Some(40), &[10, 40]), Verdict::Start);
        let short = Verdict::Short { left_bytes: 30, needed_bytes: 40 };
        assert_eq!(verdict(Some(100), Some(40), &[10, 0]), short);
        assert_eq!(verdict(Some(100), None, &[1]), Verdict::NotKnown);
        assert_eq!(verdict(None, None, &[1]), Verdict::Start);
    }

    #[test]
    fn the_memory_of_a_process_is_read_from_the_kernel() {
        let (now, peak) = taken(std::process::id()).unwrap();
        assert!(now > 1 << 20 && peak >= now);
        assert_eq!(taken(u32::MAX), None);
    }
}
