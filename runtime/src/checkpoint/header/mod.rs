//! The header of a checkpoint: built when one is written, verified and then parsed when one is loaded.
//!
//! It is a safetensors header whose first bytes are fixed, so that its own checksum is found before anything is
//! parsed; `docs/formats.md` draws it.

mod parse;

use std::collections::HashSet;

use safetensors::Dtype;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::error::bytes_text;
use super::names::{Kind, Name};
use super::tensor::{Snapshot, TensorView};
use crate::RunId;

pub(super) use parse::{Header, parse, parse_alone};

/// The version that this crate writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The largest header: 16 MiB, room for some hundred thousand tensors.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;

/// The most dimensions a tensor may have.
pub const MAX_RANK: usize = 16;

/// The length of the header, in front of it.
pub(super) const LENGTH_BYTES: usize = 8;

/// How every header begins; its checksum follows, as 8 hexadecimal digits.
pub(super) const PREFIX: &str = r#"{"__metadata__":{"header_crc32":""#;

/// The checksum's place while the checksum is computed.
pub(super) const ZEROED_CRC: &str = "00000000";

/// The tensor data begins at a multiple of this, so that every element is aligned in a mapped file.
const ALIGNMENT_BYTES: usize = 64;

/// In front of a tensor's name, the key of its checksum.
pub(super) const CRC_KEY_PREFIX: &str = "crc32/";

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The run it belongs to.
    pub run_id: RunId,
    /// The epoch it was written in, from 1; for [`Kind::Epoch`] the one that ended.
    pub epoch: u64,
    /// How many updates were applied.
    pub step: u64,
    /// Why it was written.
    pub kind: Kind,
}

impl Meta {
    /// The name that a file with it has.
    pub fn name(&self) -> Name {
        Name::new(self.kind, self.epoch, self.step)
    }
}

/// A tensor's place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorEntry {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<u64>,
    /// From the start of the tensor data.
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) crc: u32,
}

/// A tensor that can not be saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorFault {
    /// Two tensors have one name.
    #[error("two tensors are called {name:?}")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The name is one that the format keeps for itself.
    #[error("a tensor is called {name:?}, which checkpoints keep for themselves")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// Bytes, type and shape do not agree.
    #[error(
        "tensor {name:?} has {found_bytes} bytes, and {dtype} of shape {shape:?} has {}",
        bytes_text(*expected_bytes)
    )]
    Size {
        /// The tensor.
        name: String,
        /// The type of its elements.
        dtype: Dtype,
        /// Its shape.
        shape: Vec<usize>,
        /// The bytes it has.
        found_bytes: u64,
        /// The bytes it needs; `None` if that is no number of bytes.
        expected_bytes: Option<u64>,
    },
    /// There are too many dimensions.
    #[error("tensor {name:?} has {found} dimensions, and {MAX_RANK} is the most")]
    Rank {
        /// The tensor.
        name: String,
        /// How many dimensions it has.
        found: usize,
    },
    /// The header is too large.
    #[error(
        "the names and shapes of the tensors take {found_bytes} bytes, and {MAX_HEADER_BYTES} is the most"
    )]
    HeaderTooLarge {
        /// The size of the header.
        found_bytes: u64,
    },
}

/// The most bytes that a checkpoint of these tensors and so much state can have, without reading any tensor.
pub(crate) fn most_bytes(snapshot: &dyn Snapshot, state_bytes: usize) -> u64 {
    /// Of the metadata, the state's own entry and the padding.
    const FIXED_BYTES: usize = 1024;
    /// Of the keys, the type, the offsets and the checksum of one tensor.
    const TENSOR_BYTES: usize = 160;
    /// A name stands there twice, and JSON writes a byte with at most six.
    const NAME_BYTES_PER_BYTE: usize = 12;
    /// Of a number of 64 bits and its comma.
    const DIMENSION_BYTES: usize = 21;
    let of_tensor = |tensor: &TensorView<'_>| {
        let (name_bytes, rank) = (tensor.name.len(), tensor.shape.len());
        tensor.bytes.len() + TENSOR_BYTES + name_bytes * NAME_BYTES_PER_BYTE + rank * DIMENSION_BYTES
    };
    (FIXED_BYTES + state_bytes + snapshot.tensors().iter().map(of_tensor).sum::<usize>()) as u64
}

/// Sorts tensors as they are stored: the widest elements first, so that each begins aligned, then by name.
pub(super) fn sort(tensors: &mut [TensorView<'_>]) {
    tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
}

/// Places sorted tensors one behind the other and checksums them.
pub(super) fn place(tensors: &[TensorView<'_>]) -> Result<Vec<TensorEntry>, TensorFault> {
    let mut names = HashSet::new();
    let mut begin = 0;
    let mut entries = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let name = tensor.name.as_ref().to_owned();
        if name == "__metadata__" {
            return Err(TensorFault::ReservedName { name });
        }
        if !names.insert(tensor.name.as_ref()) {
            return Err(TensorFault::Duplicate { name });
        }
        if tensor.shape.len() > MAX_RANK {
            return Err(TensorFault::Rank { name, found: tensor.shape.len() });
        }
        let shape: Vec<u64> = tensor.shape.iter().map(|&dimension| dimension as u64).collect();
        let expected_bytes = TensorView::expected_bytes(tensor.dtype, shape.iter().copied());
        let found_bytes = tensor.bytes.len() as u64;
        if expected_bytes != Some(found_bytes) {
            let shape = tensor.shape.to_vec();
            return Err(TensorFault::Size { name, dtype: tensor.dtype, shape, found_bytes, expected_bytes });
        }
        let end = begin + found_bytes;
        let crc = crc32fast::hash(&tensor.bytes);
        entries.push(TensorEntry { name, dtype: tensor.dtype, shape, begin, end, crc });
        begin = end;
    }
    Ok(entries)
}

/// The bytes of a file before the tensor data: the length of the header, and the header with its checksum.
pub(super) fn build(meta: &Meta, entries: &[TensorEntry]) -> Result<Vec<u8>, TensorFault> {
    let mut json = serde_json::to_vec(&HeaderJson { meta, entries })
        .expect("a map with text keys, written to memory, always has a JSON form");
    let padded = (LENGTH_BYTES + json.len()).next_multiple_of(ALIGNMENT_BYTES) - LENGTH_BYTES;
    // The safetensors format allows spaces behind the header.
    json.resize(padded, b' ');
    if json.len() as u64 > MAX_HEADER_BYTES {
        return Err(TensorFault::HeaderTooLarge { found_bytes: json.len() as u64 });
    }
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut json);
    let crc = format!("{:08x}", crc32fast::hash(&bytes));
    let crc_at = LENGTH_BYTES + PREFIX.len();
    bytes.splice(crc_at..crc_at + ZEROED_CRC.len(), crc.bytes());
    Ok(bytes)
}

struct HeaderJson<'a> {
    meta: &'a Meta,
    entries: &'a [TensorEntry],
}

impl Serialize for HeaderJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.entries.len()))?;
        map.serialize_entry("__metadata__", &MetadataJson { meta: self.meta, entries: self.entries })?;
        for entry in self.entries {
            map.serialize_entry(&entry.name, &TensorJson(entry))?;
        }
        map.end()
    }
}

/// All values are texts, as safetensors demands; the checksum of the header is the first.
struct MetadataJson<'a> {
    meta: &'a Meta,
    entries: &'a [TensorEntry],
}

impl Serialize for MetadataJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("header_crc32", ZEROED_CRC)?;
        map.serialize_entry("format_version", &FORMAT_VERSION.to_string())?;
        map.serialize_entry("run_id", &self.meta.run_id.to_string())?;
        map.serialize_entry("epoch", &self.meta.epoch.to_string())?;
        map.serialize_entry("step", &self.meta.step.to_string())?;
        map.serialize_entry("cause", &self.meta.kind.to_string())?;
        for entry in self.entries {
            map.serialize_entry(&format!("{CRC_KEY_PREFIX}{}", entry.name), &format!("{:08x}", entry.crc))?;
        }
        map.end()
    }
}

struct TensorJson<'a>(&'a TensorEntry);

impl Serialize for TensorJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("dtype", &self.0.dtype)?;
        map.serialize_entry("shape", &self.0.shape)?;
        map.serialize_entry("data_offsets", &[self.0.begin, self.0.end])?;
        map.end()
    }
}
