//! Reading a header: its checksum first, then its JSON with every length held against a limit, then its rules.

use std::collections::HashMap;
use std::fmt;

use crc32fast::Hasher;
use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{
    CRC_KEY_PREFIX, FORMAT_VERSION, LENGTH_BYTES, MAX_HEADER_BYTES, MAX_RANK, Meta, PREFIX, TensorEntry,
    ZEROED_CRC,
};
use crate::checkpoint::error::LoadFault;
use crate::checkpoint::tensor::TensorView;
use crate::mutant;

/// A header that verified.
#[derive(Debug)]
pub(in crate::checkpoint) struct Header {
    pub(in crate::checkpoint) meta: Meta,
    /// In the order of their data: the first begins at 0, each next one where the one before ends, the last ends with
    /// the file.
    pub(in crate::checkpoint) tensors: Vec<TensorEntry>,
    /// Where in the file the tensor data begins.
    pub(in crate::checkpoint) data_start: usize,
}

/// Verifies and parses the header of a file, and holds the tensors that it describes against the size of the file.
pub(in crate::checkpoint) fn parse(file: &[u8]) -> Result<Header, LoadFault> {
    let header = parse_alone(file)?;
    match header.size_fault(file) {
        Some(fault) => Err(fault),
        None => Ok(header),
    }
}

/// Verifies and parses the header of a file, of which anything else may be missing: the places of the tensors are
/// right among each other, and need not be in the file.
pub(in crate::checkpoint) fn parse_alone(file: &[u8]) -> Result<Header, LoadFault> {
    let json = verified_json(file)?;
    let malformed = |reason| LoadFault::Header { reason };
    // All of it, also the parts that are passed over: other readers ask for that.
    let text = str::from_utf8(json).map_err(|error| malformed(error.to_string()))?;
    let parsed: HeaderJson = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let meta = parsed.metadata.meta()?;
    let tensors = join(parsed.tensors, parsed.metadata.tensor_crcs)?;
    Ok(Header { meta, tensors, data_start: LENGTH_BYTES + json.len() })
}

impl Header {
    /// What is wrong with the size of the file, if anything is.
    pub(in crate::checkpoint) fn size_fault(&self, file: &[u8]) -> Option<LoadFault> {
        let found_bytes = file.len().saturating_sub(self.data_start) as u64;
        let expected_bytes = self.tensors.last().map_or(0, |tensor| tensor.end);
        (found_bytes != expected_bytes).then_some(LoadFault::DataSize { found_bytes, expected_bytes })
    }
}

/// The JSON part of the header, after its checksum matched. Nothing is allocated for it.
fn verified_json(file: &[u8]) -> Result<&[u8], LoadFault> {
    let found_bytes = file.len() as u64;
    let length = file.first_chunk().ok_or(LoadFault::Short { found_bytes })?;
    let header_bytes = u64::from_le_bytes(*length);
    if header_bytes > MAX_HEADER_BYTES && !mutant::is("checkpoint-header-length-cap") {
        return Err(LoadFault::HeaderTooLarge { found_bytes: header_bytes });
    }
    // At most MAX_HEADER_BYTES, which fits.
    let header_end = LENGTH_BYTES + header_bytes as usize;
    let header = file.get(LENGTH_BYTES..header_end).ok_or(LoadFault::Short { found_bytes })?;
    let stored = header
        .strip_prefix(PREFIX.as_bytes())
        .and_then(|rest| rest.first_chunk())
        .ok_or(LoadFault::NotOurs)?;
    let found = parse_crc(stored).ok_or(LoadFault::NotOurs)?;
    let mut hasher = Hasher::new();
    hasher.update(length);
    hasher.update(PREFIX.as_bytes());
    hasher.update(ZEROED_CRC.as_bytes());
    hasher.update(header.get(PREFIX.len() + ZEROED_CRC.len()..).unwrap_or_default());
    let expected = hasher.finalize();
    if found != expected && !mutant::is("checkpoint-header-crc") {
        return Err(LoadFault::HeaderCrc { found, expected });
    }
    Ok(header)
}

/// Eight lower-case hexadecimal digits, and nothing else: one checksum, one spelling.
fn parse_crc(digits: &[u8; 8]) -> Option<u32> {
    let text = str::from_utf8(digits).ok()?;
    let crc = u32::from_str_radix(text, 16).ok()?;
    (format!("{crc:08x}") == text).then_some(crc)
}

/// Gives each tensor its checksum and checks that their data lie one behind the other, without hole or overlap.
fn join(
    mut tensors: Vec<TensorEntry>,
    mut crcs: HashMap<String, u32>,
) -> Result<Vec<TensorEntry>, LoadFault> {
    tensors.sort_by_key(|tensor| (tensor.begin, tensor.end));
    let mut expected_begin = 0;
    for tensor in &mut tensors {
        let expected_bytes = TensorView::expected_bytes(tensor.dtype, tensor.shape.iter().copied());
        let placed_bytes = tensor.end.checked_sub(tensor.begin);
        if tensor.begin != expected_begin || placed_bytes.is_none() || placed_bytes != expected_bytes {
            return Err(LoadFault::Placement {
                tensor: tensor.name.clone(),
                begin: tensor.begin,
                end: tensor.end,
                expected_begin,
                expected_bytes,
            });
        }
        expected_begin = tensor.end;
        tensor.crc = crcs.remove(&tensor.name).ok_or_else(|| LoadFault::Header {
            reason: format!("tensor {:?} has no checksum", tensor.name),
        })?;
    }
    if let Some(name) = crcs.into_keys().next() {
        return Err(LoadFault::Header { reason: format!("a checksum is for {name:?}, which is no tensor") });
    }
    Ok(tensors)
}

struct HeaderJson {
    metadata: MetadataJson,
    tensors: Vec<TensorEntry>,
}

impl<'de> Deserialize<'de> for HeaderJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = HeaderJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a safetensors header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderJson, A::Error> {
        // The fixed prefix has the metadata first.
        let first: Option<String> = map.next_key()?;
        if first.as_deref() != Some("__metadata__") {
            return Err(A::Error::custom("the metadata are not first"));
        }
        let metadata: MetadataJson = map.next_value()?;
        let mut tensors: Vec<TensorEntry> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" || !seen.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice")));
            }
            let TensorJson { dtype, shape: Shape(shape), data_offsets: (begin, end) } = map.next_value()?;
            tensors.push(TensorEntry { name, dtype, shape, begin, end, crc: 0 });
        }
        Ok(HeaderJson { metadata, tensors })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorJson {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// At most [`MAX_RANK`] dimensions; a longer list is refused before it is kept.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_RANK} dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut shape = Vec::new();
        while let Some(dimension) = seq.next_element()? {
            if shape.len() == MAX_RANK {
                return Err(A::Error::invalid_length(MAX_RANK + 1, &self));
            }
            shape.push(dimension);
        }
        Ok(Shape(shape))
    }
}

/// The metadata as texts. Keys that this version does not know are passed over.
#[derive(Default)]
struct MetadataJson {
    format_version: Option<String>,
    run_id: Option<String>,
    epoch: Option<String>,
    step: Option<String>,
    cause: Option<String>,
    tensor_crcs: HashMap<String, u32>,
}

impl MetadataJson {
    fn meta(&self) -> Result<Meta, LoadFault> {
        let version: u32 = field("format_version", self.format_version.as_deref())?;
        if version != FORMAT_VERSION {
            return Err(LoadFault::Version { found: version });
        }
        Ok(Meta {
            run_id: field("run_id", self.run_id.as_deref())?,
            epoch: field("epoch", self.epoch.as_deref())?,
            step: field("step", self.step.as_deref())?,
            kind: field("cause", self.cause.as_deref())?,
        })
    }
}

fn field<T: std::str::FromStr>(key: &str, text: Option<&str>) -> Result<T, LoadFault> {
    let Some(text) = text else {
        return Err(LoadFault::Header { reason: format!("its metadata lack {key:?}") });
    };
    text.parse().map_err(|_| LoadFault::Header { reason: format!("its metadata have {text:?} for {key:?}") })
}

impl<'de> Deserialize<'de> for MetadataJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = MetadataJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the metadata of a checkpoint")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MetadataJson, A::Error> {
        let mut metadata = MetadataJson::default();
        while let Some(key) = map.next_key::<String>()? {
            let slot = match key.as_str() {
                "format_version" => &mut metadata.format_version,
                "run_id" => &mut metadata.run_id,
                "epoch" => &mut metadata.epoch,
                "step" => &mut metadata.step,
                "cause" => &mut metadata.cause,
                other => {
                    if let Some(tensor) = other.strip_prefix(CRC_KEY_PREFIX) {
                        let text: String = map.next_value()?;
                        let crc = text.as_bytes().try_into().ok().and_then(parse_crc);
                        let crc =
                            crc.ok_or_else(|| A::Error::custom(format_args!("{key:?} is no checksum")))?;
                        if metadata.tensor_crcs.insert(tensor.to_owned(), crc).is_some() {
                            return Err(A::Error::custom(format_args!("{key:?} is there twice")));
                        }
                    } else {
                        // A text, as safetensors demands of all metadata.
                        map.next_value::<String>()?;
                    }
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom(format_args!("{key:?} is there twice")));
            }
        }
        Ok(metadata)
    }
}
