//! Writing the bytes of a checkpoint, and reading them back.

use crc32fast::Hasher;
use xxhash_rust::xxh3::Xxh3Default;

use super::error::LoadFault;
use super::load::Checkpoint;
use super::tensor::TensorView;
use crate::disk::{Bytes, DiskError, DiskFile};

/// After so many bytes the disk is told to begin writing them, 8 MiB: it then works while the next ones are copied, and
/// the sync at the end has little left to wait for.
const WRITEBACK_BYTES: usize = 8 << 20;

/// What is hashed twice at a time: little enough to be in the processor's cache the second time.
const HASHED_BYTES: usize = 64 << 10;

/// Appends the header and the data of the tensors to an empty file. Nothing is durable yet.
pub(super) fn write(file: &dyn DiskFile, head: &[u8], tensors: &[TensorView<'_>]) -> Result<(), DiskError> {
    file.write_all(head)?;
    let mut since_bytes = head.len();
    for piece in tensors.iter().flat_map(|tensor| tensor.bytes.chunks(WRITEBACK_BYTES)) {
        file.write_all(piece)?;
        since_bytes += piece.len();
        if since_bytes >= WRITEBACK_BYTES {
            file.begin_writeback();
            since_bytes = 0;
        }
    }
    Ok(())
}

/// The checkpoint in the bytes of a file, verified, and XXH3-128 of them all, in one pass.
pub(super) fn verify_with_digest(bytes: Bytes) -> Result<(Checkpoint, [u8; 16]), LoadFault> {
    let mut digest = Xxh3Default::new();
    let checkpoint = Checkpoint::verify_with(bytes, |data| {
        let mut crc = Hasher::new();
        for piece in data.chunks(HASHED_BYTES) {
            crc.update(piece);
            digest.update(piece);
        }
        crc.finalize()
    })?;
    Ok((checkpoint, digest.digest128().to_be_bytes()))
}
