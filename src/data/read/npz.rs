//! NumPy's `.npz` format: a ZIP archive of `.npy` members.
//!
//! Members that are merely stored (`numpy.savez`) are used in place, in the mapped file; deflated ones
//! (`numpy.savez_compressed`) are unpacked into memory when they are asked for.

use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zip::{CompressionMethod, ZipArchive};

use super::{MAX_INFLATION, ReadError, npy};
use crate::data::array::{Array, Place};

const SUFFIX: &str = ".npy";

#[derive(Debug)]
pub(super) struct Npz {
    path: PathBuf,
    bytes: Bytes,
    /// In the order of their places in the file, where they do not overlap.
    members: Vec<Member>,
}

/// One entry of the archive's directory.
#[derive(Debug)]
struct Member {
    /// Name of the array: the member's name without `.npy`.
    name: String,
    /// Where its possibly compressed bytes lie; inside the file, which was checked.
    packed: Range<usize>,
    unpacked_bytes: u64,
    crc32: u32,
    storage: Storage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Storage {
    Stored,
    /// Index in the archive.
    Deflated(usize),
    Unsupported(String),
}

impl Npz {
    pub(super) fn open(path: &Path, bytes: Bytes) -> Result<Self, ReadError> {
        let broken = |source| ReadError::Zip { path: path.to_path_buf(), source };
        let mut archive = ZipArchive::new(Cursor::new(bytes.clone())).map_err(broken)?;
        if archive.has_duplicate_names() {
            return Err(ReadError::Ambiguous { path: path.to_path_buf(), name: "(a member)".to_owned() });
        }
        let mut members = Vec::new();
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(broken)?;
            let raw_name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            // Other files may lie beside the arrays.
            let Some(name) = raw_name.strip_suffix(SUFFIX).map(str::to_owned) else { continue };
            let storage = match entry.compression() {
                _ if entry.encrypted() => Storage::Unsupported("encryption".to_owned()),
                CompressionMethod::Stored => Storage::Stored,
                CompressionMethod::Deflated => Storage::Deflated(index),
                other => Storage::Unsupported(format!("compression method {other}")),
            };
            let Some(packed) = range_inside(entry.data_start(), entry.compressed_size(), bytes.len()) else {
                let problem = format!(
                    "it claims {} bytes, which do not fit into the {} bytes of the file",
                    entry.compressed_size(),
                    bytes.len()
                );
                return Err(ReadError::Header { place: Place::within(path, name), format: "zip", problem });
            };
            let (unpacked_bytes, crc32) = (entry.size(), entry.crc32());
            members.push(Member { name, packed, unpacked_bytes, crc32, storage });
        }
        members.sort_by_key(|member| member.packed.start);
        let overlap = members.windows(2).find_map(|pair| match pair {
            [first, second] if second.packed.start < first.packed.end => Some((first, second)),
            _ => None,
        });
        if let Some((first, second)) = overlap {
            let problem = format!("it overlaps the array `{}`", first.name);
            let place = Place::within(path, &second.name);
            return Err(ReadError::Header { place, format: "zip", problem });
        }
        Ok(Self { path: path.to_path_buf(), bytes, members })
    }

    pub(super) fn array(&self, name: &str) -> Result<Array, ReadError> {
        let member = self.members.iter().find(|member| member.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
            ReadError::NoSuchArray {
                path: self.path.clone(),
                name: name.to_owned(),
                available: super::csv::list(&names),
            }
        })?;
        let place = Place::within(&self.path, name);
        let packed = self.bytes.slice(member.packed.clone());
        let bytes = match &member.storage {
            Storage::Stored => packed,
            Storage::Deflated(index) => self.unpack(&place, *index, member)?,
            Storage::Unsupported(found) => {
                return Err(ReadError::ZipMethod { place, found: found.clone() });
            }
        };
        npy::read(place, bytes)
    }

    /// Unpacks one member. The archive's own reader checks its CRC at the end.
    fn unpack(&self, place: &Place, index: usize, member: &Member) -> Result<Bytes, ReadError> {
        let capacity = inflated_len(place, member.packed.len(), member.unpacked_bytes)?;
        let broken = |source| ReadError::Zip { path: self.path.clone(), source };
        let mut archive = ZipArchive::new(Cursor::new(self.bytes.clone())).map_err(broken)?;
        let entry = archive.by_index(index).map_err(broken)?;
        let mut unpacked = Vec::with_capacity(capacity);
        entry
            .take(member.unpacked_bytes.saturating_add(1))
            .read_to_end(&mut unpacked)
            .map_err(|source| ReadError::Unpack { place: place.clone(), source })?;
        if unpacked.len() as u64 != member.unpacked_bytes {
            let problem = format!(
                "it unpacks to {} bytes, the directory says {}",
                unpacked.len(),
                member.unpacked_bytes
            );
            return Err(ReadError::Header { place: place.clone(), format: "zip", problem });
        }
        Ok(Bytes::from(unpacked))
    }

    /// CRC-32 of the whole file. On the way, the stored members are compared with the CRC of the archive's directory:
    /// the checksums of consecutive pieces combine into that of the whole, so each byte is read once.
    pub(super) fn checksum(&self) -> Result<u32, ReadError> {
        let mut whole = crc32fast::Hasher::new();
        let mut position = 0;
        for member in self.members.iter().filter(|member| member.storage == Storage::Stored) {
            let mut part = crc32fast::Hasher::new();
            part.update(self.part(member.packed.clone()));
            let found = part.clone().finalize();
            if found != member.crc32 {
                let place = Place::within(&self.path, &member.name);
                return Err(ReadError::Checksum { place, expected: member.crc32, found });
            }
            whole.update(self.part(position..member.packed.start));
            whole.combine(&part);
            position = member.packed.end;
        }
        whole.update(self.part(position..self.bytes.len()));
        Ok(whole.finalize())
    }

    fn part(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).expect("members lie inside the file, which was checked when it was opened")
    }
}

fn range_inside(start: Option<u64>, len: u64, file_len: usize) -> Option<Range<usize>> {
    let start = usize::try_from(start?).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    (end <= file_len).then_some(start..end)
}

/// The length to allocate for unpacked data, unless no compressor could have reached it.
pub(super) fn inflated_len(place: &Place, packed: usize, claimed: u64) -> Result<usize, ReadError> {
    let most = packed.saturating_mul(MAX_INFLATION);
    match usize::try_from(claimed) {
        Ok(claimed) if claimed <= most => Ok(claimed),
        _ => Err(ReadError::Inflation {
            place: place.clone(),
            packed_bytes: packed as u64,
            claimed_bytes: claimed,
        }),
    }
}
