//! Loading a checkpoint: mapped, and verified to the last byte before any of it is handed out.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;

use super::error::{LoadError, LoadFault};
use super::header::{self, Header, Meta, TensorEntry};
use super::names::STATE_TENSOR;
use super::tensor::{Element, ElementError};
use crate::disk::{Bytes, Disk};
use crate::mutant;

/// A checkpoint that verified.
#[derive(Debug)]
pub struct Checkpoint {
    meta: Meta,
    bytes: Bytes,
    data_start: usize,
    tensors: Vec<TensorEntry>,
    /// From a tensor's name to its place in `tensors`.
    index: HashMap<String, usize>,
}

/// One tensor of a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct LoadedTensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, outermost first; none for a scalar.
    pub shape: &'a [u64],
    /// Its elements in row-major order, little-endian.
    pub bytes: &'a [u8],
}

impl LoadedTensor<'_> {
    /// Its elements.
    ///
    /// # Errors
    /// If it holds elements of another type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, ElementError> {
        if self.dtype != T::DTYPE {
            let name = self.name.to_owned();
            return Err(ElementError { name, found: self.dtype, expected: T::DTYPE });
        }
        Ok(bytemuck::allocation::pod_collect_to_vec(self.bytes))
    }
}

impl Checkpoint {
    /// Loads a checkpoint file and verifies its header, its structure and every tensor.
    ///
    /// # Errors
    /// If the file can not be read, or does not verify; the fault names the tensor.
    pub fn load(disk: &dyn Disk, path: &Path) -> Result<Checkpoint, LoadError> {
        Checkpoint::verify(disk.map(path)?).map_err(|fault| LoadError::of(path, fault))
    }

    /// Loads a checkpoint file as [`load`](Checkpoint::load) does, and says from time to time how many of its bytes have
    /// verified.
    ///
    /// # Errors
    /// As [`load`](Checkpoint::load).
    pub fn load_watched(
        disk: &dyn Disk,
        path: &Path,
        verified_bytes: &mut dyn FnMut(u64),
    ) -> Result<Checkpoint, LoadError> {
        /// A few milliseconds of work.
        const PIECE_BYTES: usize = 16 << 20;
        let mut done_bytes = 0;
        let checksum = |bytes: &[u8]| {
            let mut hasher = crc32fast::Hasher::new();
            for piece in bytes.chunks(PIECE_BYTES) {
                hasher.update(piece);
                done_bytes += piece.len() as u64;
                verified_bytes(done_bytes);
            }
            hasher.finalize()
        };
        Checkpoint::verify_with(disk.map(path)?, checksum).map_err(|fault| LoadError::of(path, fault))
    }

    /// The checkpoint in the bytes of a file, verified.
    pub(super) fn verify(bytes: Bytes) -> Result<Checkpoint, LoadFault> {
        Checkpoint::verify_with(bytes, crc32fast::hash)
    }

    /// The checkpoint in the bytes of a file, verified. `checksum` sees all bytes in their order, those before the data
    /// of the tensors and then the data of each tensor, and gives the checksum of what it sees.
    pub(super) fn verify_with(
        bytes: Bytes,
        mut checksum: impl FnMut(&[u8]) -> u32,
    ) -> Result<Checkpoint, LoadFault> {
        let Header { meta, tensors, data_start } = header::parse(&bytes)?;
        let index = tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.clone(), at)).collect();
        let checkpoint = Checkpoint { meta, bytes, data_start, tensors, index };
        // The header has verified already.
        let _ = checksum(checkpoint.bytes.get(..data_start).unwrap_or_default());
        for (entry, tensor) in checkpoint.tensors.iter().zip(checkpoint.iter()) {
            let expected = checksum(tensor.bytes);
            if entry.crc != expected && !mutant::is("checkpoint-tensor-crc") {
                return Err(LoadFault::TensorCrc { tensor: entry.name.clone(), found: entry.crc, expected });
            }
        }
        let state = checkpoint.tensor(STATE_TENSOR);
        if state.is_none_or(|state| state.dtype != Dtype::U8 || state.shape.len() != 1) {
            let found = state.map(|state| (state.dtype, state.shape.to_vec()));
            return Err(LoadFault::State { tensor: STATE_TENSOR, found });
        }
        Ok(checkpoint)
    }

    /// What it says of itself.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The opaque state that was saved with it.
    pub fn state(&self) -> &[u8] {
        self.tensor(STATE_TENSOR).map(|state| state.bytes).unwrap_or_default()
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<LoadedTensor<'_>> {
        self.tensors.get(*self.index.get(name)?).map(|entry| self.view(entry))
    }

    /// All tensors in the order of the file, the state among them.
    pub fn iter(&self) -> impl Iterator<Item = LoadedTensor<'_>> {
        self.tensors.iter().map(|entry| self.view(entry))
    }

    /// The size of the file.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn view<'a>(&'a self, entry: &'a TensorEntry) -> LoadedTensor<'a> {
        // The header's check has held both against the size of the file, so both fit and are within it.
        let (begin, end) = (self.data_start + entry.begin as usize, self.data_start + entry.end as usize);
        let bytes = self.bytes.get(begin..end).unwrap_or_default();
        LoadedTensor { name: &entry.name, dtype: entry.dtype, shape: &entry.shape, bytes }
    }
}
