//! A checkpoint as it is, good or not: what verifies of one that is damaged, for people who look at it. Nothing is loaded
//! from here.

use std::path::Path;

use safetensors::Dtype;

use super::error::{LoadError, LoadFault};
use super::header::{Header, Meta, TensorEntry, parse_alone};
use super::names::STATE_TENSOR;
use crate::disk::{Bytes, Disk};

/// A checkpoint whose header verifies. Of its tensors nothing is known before they are [checked](FoundTensor::check).
#[derive(Debug)]
pub struct Examined {
    header: Header,
    bytes: Bytes,
}

/// A tensor that the header of a checkpoint describes.
#[derive(Debug, Clone, Copy)]
pub struct FoundTensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, outermost first; none for a scalar.
    pub shape: &'a [u64],
    /// How many bytes it must have.
    pub expected_bytes: u64,
    /// The checksum that the header has for it.
    pub crc: u32,
    /// Those of its bytes that the file has: all, unless the file is cut.
    pub bytes: &'a [u8],
}

/// Whether the bytes of a tensor are those that were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorCheck {
    /// They are.
    Good,
    /// Their checksum is another.
    Damaged {
        /// The checksum that the bytes give.
        found: u32,
    },
    /// The file ends before they do.
    Cut {
        /// How many are missing.
        missing_bytes: u64,
    },
}

impl FoundTensor<'_> {
    /// Holds the bytes against their checksum.
    #[must_use]
    pub fn check(&self) -> TensorCheck {
        let missing_bytes = self.expected_bytes.saturating_sub(self.bytes.len() as u64);
        if missing_bytes > 0 {
            return TensorCheck::Cut { missing_bytes };
        }
        let found = crc32fast::hash(self.bytes);
        if found == self.crc { TensorCheck::Good } else { TensorCheck::Damaged { found } }
    }
}

impl Examined {
    /// Opens a checkpoint file and verifies its header.
    ///
    /// # Errors
    /// If the file can not be read, or its header does not verify: then nothing of it can be told.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Examined, LoadError> {
        Examined::of(disk.map(path)?).map_err(|fault| LoadError::of(path, fault))
    }

    /// The checkpoint in the bytes of a file.
    pub(super) fn of(bytes: Bytes) -> Result<Examined, LoadFault> {
        Ok(Examined { header: parse_alone(&bytes)?, bytes })
    }

    /// What it says of itself.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.header.meta
    }

    /// The size of the file.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The tensors in the order of the file, the state among them.
    pub fn tensors(&self) -> impl Iterator<Item = FoundTensor<'_>> {
        self.header.tensors.iter().map(|entry| self.view(entry))
    }

    /// The opaque state that was saved with it, if its bytes verify.
    #[must_use]
    pub fn state(&self) -> Option<&[u8]> {
        let state = self.tensors().find(|tensor| tensor.name == STATE_TENSOR)?;
        (state.check() == TensorCheck::Good).then_some(state.bytes)
    }

    /// What is wrong with it besides the bytes of tensors: its size, or a state that is missing or no plain bytes.
    #[must_use]
    pub fn fault(&self) -> Option<LoadFault> {
        self.header.size_fault(&self.bytes).or_else(|| {
            let state = self.tensors().find(|tensor| tensor.name == STATE_TENSOR);
            let is_right = state.is_some_and(|state| state.dtype == Dtype::U8 && state.shape.len() == 1);
            let found = state.map(|state| (state.dtype, state.shape.to_vec()));
            (!is_right).then_some(LoadFault::State { tensor: STATE_TENSOR, found })
        })
    }

    fn view<'a>(&'a self, entry: &'a TensorEntry) -> FoundTensor<'a> {
        let data = self.bytes.get(self.header.data_start..).unwrap_or_default();
        // Not yet held against the size of the file: either place may lie behind its end, or behind all memory.
        let within = |at: u64| usize::try_from(at).map_or(data.len(), |at| at.min(data.len()));
        FoundTensor {
            name: &entry.name,
            dtype: entry.dtype,
            shape: &entry.shape,
            expected_bytes: entry.end.saturating_sub(entry.begin),
            crc: entry.crc,
            bytes: data.get(within(entry.begin)..within(entry.end)).unwrap_or_default(),
        }
    }
}
