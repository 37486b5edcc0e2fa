//! Defects that can be switched on, one at a time, to learn whether the tests notice: `scripts/mutants.sh` does, and
//! `docs/mutants.md` says which test noticed which.
//!
//! Without the feature `mutants`, which is off, every question here is answered at compile time, and nothing of this is
//! in the program. Here: the defects and the switch. Not here: the places that ask for them.

/// Whether this defect is switched on: whether the environment variable `TRAINER_MUTANT` names it.
#[cfg(feature = "mutants")]
pub(crate) fn is(defect: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    debug_assert!(DEFECTS.iter().any(|(name, _)| *name == defect), "{defect} is not on the list");
    CHOSEN.get_or_init(|| std::env::var("TRAINER_MUTANT").ok()).as_deref() == Some(defect)
}

#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_defect: &str) -> bool {
    false
}

/// Does it, unless this defect is switched on.
pub(crate) fn unless<E>(defect: &str, act: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    if is(defect) { Ok(()) } else { act() }
}

/// Every defect, and what it takes away.
#[cfg(any(test, feature = "mutants"))]
#[rustfmt::skip]
pub(crate) const DEFECTS: &[(&str, &str)] = &[
    ("disk-sync", "the system call that syncs a file"),
    ("disk-sync-dir", "the system call that syncs a directory"),
    ("disk-create-dir-sync-dir", "the sync of the directory above one that is there already"),
    ("journal-sync", "the sync of appended records"),
    ("journal-failed-sync-repeated", "leaving a segment whose sync failed: the sync is tried again, and believed"),
    ("journal-failed-write-repeated", "leaving a segment whose write failed: the write is tried again behind what there is"),
    ("journal-open-sync-dir", "the sync of the directory before a journal that was found is gone on with"),
    ("journal-open-same-segment", "the new segment of a process that goes on with a journal"),
    ("journal-open-believes-tail", "writing again the records that nothing says were durable"),
    ("segment-sync", "the sync of a new segment"),
    ("segment-sync-dir", "the sync of the directory behind a new segment's name"),
    ("segment-renamed-before-sync", "the order: a new segment has its name before it is durable"),
    ("segment-no-temporary-name", "the temporary name of a new segment"),
    ("segment-salt", "the salt: it is 0 in every segment"),
    ("segment-continuation", "the check that a segment continues the one before"),
    ("segment-number", "the check that a segment has the number of its name"),
    ("segment-run", "the check that a segment is of the same run"),
    ("segment-born-records", "the check that a segment has the records it was born with"),
    ("segment-superseded", "the check that a successor takes the place of nothing that was durable"),
    ("journal-header-crc", "the checksum of a segment's header"),
    ("journal-frame-crc", "the checksum of a record"),
    ("journal-frame-chain", "the check that a record follows the one before"),
    ("journal-frame-sequence", "the check of a record's number"),
    ("journal-frame-length-cap", "the limit on the length that a record claims"),
    ("journal-append-length-cap", "the limit on the length of a record that is appended"),
    ("journal-kind-zero", "the check that a record's kind is not 0"),
    ("watermark-never-written", "the watermark: it is 0 in every record"),
    ("watermark-too-high", "the watermark's truth: it counts records that are not durable"),
    ("watermark-ignored", "heeding the watermark: all damage counts as torn"),
    ("torn-cut-before-copied", "the order: a torn tail is cut before it is copied"),
    ("torn-cut-sync", "the sync of the cut of a torn tail"),
    ("set-aside-sync", "the sync of bytes that are set aside"),
    ("set-aside-sync-dir", "the sync of the directory behind the name of bytes that are set aside"),
    ("repair-sync-dir", "the sync of the directory behind each segment that a repair sets aside"),
    ("repair-link-sync-dir", "the sync of the directory behind the second name that a repair gives a segment"),
    ("checkpoint-sync", "the sync of a checkpoint"),
    ("checkpoint-read-back", "reading a checkpoint back and verifying it before it has its name"),
    ("checkpoint-renamed-before-sync", "the order: a checkpoint has its name before it is durable"),
    ("checkpoint-no-temporary-name", "the temporary name of a checkpoint"),
    ("checkpoint-sync-dir", "the sync of the directory behind a checkpoint's name"),
    ("checkpoint-open-sync-dir", "the sync of the directory before checkpoints that were found are gone on with"),
    ("checkpoint-header-crc", "the checksum of a checkpoint's header"),
    ("checkpoint-tensor-crc", "the checksums of tensors"),
    ("checkpoint-header-length-cap", "the limit on the length that a checkpoint's header claims"),
    ("checkpoint-name", "the check that a checkpoint is the one its name says"),
    ("checkpoint-damaged-sync-dir", "the sync of the directory behind a damaged checkpoint that is set aside"),
    ("link-removed-first", "the order: a link is removed before it names another checkpoint"),
    ("link-sync-dir", "the sync of the directory behind a link"),
    ("link-copy-sync", "the sync of a copy where there are no hard links"),
    ("link-copy-read-back", "reading such a copy back and verifying it"),
    ("retire-sync-dir", "the sync of the directory behind checkpoints that were dropped"),
    ("retire-keeps-one", "keeping two checkpoints at least, and the best one"),
    ("keep-journal-sync", "the sync of the journal before a checkpoint"),
    ("keep-announced-first", "the order: a checkpoint is announced before it is published"),
    ("keep-announcement-sync", "the sync of the journal behind the announcement of a checkpoint"),
    ("keep-retired-first", "the order: older checkpoints are dropped before the new one is published"),
    ("take-in-sync-dir", "the sync of the directory behind a copy of a checkpoint that is taken in"),
    ("branch-named-first", "the order: what is taken in gets its name before the file that has it is moved away"),
    ("branch-sync-dir", "the syncs of both directories behind files that are moved into the folder of a branch"),
    ("branch-name-sync-dir", "the sync of the directory behind the name of what was taken in"),
    ("cut-moved-first", "the order: files are moved before the record that says so is durable"),
    ("cut-record-sync", "the sync of the record of a cut"),
    ("keep-only-unverified", "verifying what is to be kept before everything else is removed"),
    ("keep-only-sync-dir", "the sync of the directory behind checkpoints that a cleaning up removed"),
    ("keep-best-first", "saving the best that failed before anything that comes later"),
    ("small-file-sync", "the sync of a small file"),
    ("small-file-sync-dir", "the sync of the directory behind a small file's name"),
    ("small-file-no-temporary-name", "the temporary name of a small file"),
    ("ballast-sync", "the sync of the reserved room"),
    ("ballast-sync-dir", "the sync of the directory behind the reserved room"),
];

#[cfg(test)]
mod tests {
    use super::{DEFECTS, is};

    #[test]
    fn no_defect_is_switched_on_by_itself() {
        if std::env::var_os("TRAINER_MUTANT").is_none() {
            assert!(DEFECTS.iter().all(|(name, _)| !is(name)));
        }
    }
}
