//! What the fuzz targets of `fuzz/` run, and what the tests here run over the same corpora.
//!
//! A target is a function that takes any bytes and panics where a promise is broken. Belongs here: the targets, the
//! allocator they run on, and the mutators that repair checksums so that deep states are reached. Does not belong here:
//! anything that a program would use; the module exists under `cfg(fuzzing)` and in tests alone.
//!
//! Every target runs under [`allocation::within_limits`].

pub mod allocation;
mod operations;
#[cfg(test)]
mod tests;

use std::cell::Cell;

pub use crate::checkpoint::fuzzing::{checkpoint_header, checkpoint_load, sign_checkpoint};
pub use crate::journal::fuzzing::{journal_scan, journal_scan_unchecked, sign_journal};
pub use operations::operations;

use crate::codec::{self, Decode, Encode};

thread_local! {
    static CHECKSUMS_IGNORED: Cell<bool> = const { Cell::new(false) };
}

/// Whether checksums of the journal are taken for right on this thread, whatever they are.
pub(crate) fn checksums_ignored() -> bool {
    CHECKSUMS_IGNORED.get()
}

/// Runs something that takes every checksum of the journal for right.
pub(crate) fn ignoring_checksums<T>(run: impl FnOnce() -> T) -> T {
    CHECKSUMS_IGNORED.set(true);
    let done = run();
    CHECKSUMS_IGNORED.set(false);
    done
}

/// Decodes the bytes as values of the shapes that records are made of: what is accepted has these bytes as its only
/// encoding.
pub fn codec_decode(bytes: &[u8]) {
    check_only_encoding::<Vec<u8>>(bytes);
    check_only_encoding::<String>(bytes);
    check_only_encoding::<(u64, bool, Option<u32>)>(bytes);
    check_only_encoding::<Vec<(String, f64)>>(bytes);
    check_only_encoding::<Vec<Option<Vec<u64>>>>(bytes);
    check_only_encoding::<Result<[u8; 16], String>>(bytes);
}

fn check_only_encoding<T: Encode + Decode<()>>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes) {
        assert!(codec::encode(&value).is_ok_and(|again| again == bytes), "a second encoding was accepted");
    }
}
