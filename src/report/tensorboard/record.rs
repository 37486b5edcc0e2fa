//! The framing of TensorFlow's record files: length, its checksum, the bytes, their checksum.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | length of the bytes, little-endian |
//! | 8 | 4 | masked CRC-32C of these 8 bytes |
//! | 12 | length | the bytes |
//! | 12 + length | 4 | masked CRC-32C of the bytes |
//!
//! Source: TensorFlow, `tensorflow/core/lib/io/record_writer.h`; the mask is that of `lib/hash/crc32c.h`.

use thiserror::Error;

const MASK_DELTA: u32 = 0xa282_ead8;
const HEAD_BYTES: usize = 12;

/// Why bytes are no records.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// They end in the middle of one.
    #[error("the record at byte {offset} is cut off")]
    Cut {
        /// Where it begins.
        offset: usize,
    },
    /// A checksum is wrong.
    #[error("the record at byte {offset} has a wrong checksum")]
    Checksum {
        /// Where it begins.
        offset: usize,
    },
}

/// The checksum of a record. A file of records may hold checksums of bytes that hold checksums, which the mask tells
/// apart.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK_DELTA)
}

/// A record with these bytes.
pub(super) fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(bytes.len() + HEAD_BYTES + 4);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked_crc32c(&length).to_le_bytes());
    record.extend_from_slice(bytes);
    record.extend_from_slice(&masked_crc32c(bytes).to_le_bytes());
    record
}

/// The bytes of each record.
///
/// # Errors
/// If they are no whole records, or a checksum is wrong.
pub fn unframed(mut bytes: &[u8]) -> Result<Vec<&[u8]>, RecordError> {
    let whole = bytes.len();
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let offset = whole - bytes.len();
        let cut = RecordError::Cut { offset };
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or(cut.clone())?;
        let (length_crc, rest) = rest.split_first_chunk::<4>().ok_or(cut.clone())?;
        if masked_crc32c(length) != u32::from_le_bytes(*length_crc) {
            return Err(RecordError::Checksum { offset });
        }
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut.clone())?;
        let (payload, rest) = rest.split_at_checked(length).ok_or(cut.clone())?;
        let (crc, rest) = rest.split_first_chunk::<4>().ok_or(cut)?;
        if masked_crc32c(payload) != u32::from_le_bytes(*crc) {
            return Err(RecordError::Checksum { offset });
        }
        records.push(payload);
        bytes = rest;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::{RecordError, framed, masked_crc32c, unframed};

    #[test]
    fn the_checksum_is_that_of_the_format() {
        // RFC 3720, B.4: the CRC-32C of 32 zeros is 8a9136aa.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc32c(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn records_come_back_and_any_cut_or_change_is_noticed() {
        let bytes = [framed(b"one"), framed(b""), framed(b"three")].concat();
        assert_eq!(unframed(&bytes).unwrap(), [&b"one"[..], b"", b"three"]);
        for end in 1..bytes.len() {
            let is_border = [19, 35].contains(&end);
            assert_eq!(unframed(&bytes[..end]).is_ok(), is_border, "{end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(unframed(&changed).is_err(), "{at}");
        }
        assert_eq!(unframed(b"short"), Err(RecordError::Cut { offset: 0 }));
    }
}
