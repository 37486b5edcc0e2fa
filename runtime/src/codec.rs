//! How records and other small state become bytes: bincode, little-endian, fixed widths.
//!
//! The only module that uses bincode, so that it can be replaced in one place. The encoding is bincode 2's with
//! fixed-width integers: numbers as they are in memory on a little-endian machine, lengths as `u64`, the variant of an
//! enum as its index in a `u32`, an `Option` as a byte. It names neither fields nor types: what is decoded must be
//! what was encoded, which the kind of a journal record and a version in front of other state see to.
//!
//! A type derives [`Encode`] and [`Decode`] and says where the derived code finds bincode:
//!
//! ```
//! use trainer_runtime::codec::{self, Decode, Encode};
//!
//! #[derive(Encode, Decode)]
//! #[bincode(crate = "trainer_runtime::codec::bincode")]
//! struct StepDone {
//!     step: u64,
//!     loss: f64,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bytes = codec::encode(&StepDone { step: 3, loss: 0.25 })?;
//! let back: StepDone = codec::decode(&bytes)?;
//! assert_eq!((back.step, back.loss), (3, 0.25));
//! # Ok(())
//! # }
//! ```

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::error::DecodeError as Malformation;

#[doc(hidden)]
pub use bincode;
pub use bincode::{Decode, Encode};

/// The largest encoded value, and the most memory that decoding one may claim: 16 MiB.
pub const LIMIT_BYTES: usize = 16 << 20;

/// The most memory that decoding may claim for each encoded byte of a short value.
///
/// An element of a list takes more memory than bytes, such as 24 for the one byte of an absent `Option<Vec<_>>`. No
/// element may take more than this many per byte, or lists of it are refused when they are read again.
pub const MEMORY_PER_BYTE: usize = 256;

/// Up to how many bytes a value counts as short, and as one of middle length.
const SHORT_BYTES: usize = 256;
const MIDDLE_BYTES: usize = 4096;

type Within<const LIMIT: usize> = Configuration<LittleEndian, Fixint, Limit<LIMIT>>;

const fn within<const LIMIT: usize>() -> Within<LIMIT> {
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT>()
}

/// A value that could not be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The value is larger than any reader would accept.
    #[error(
        "the encoded value has {found_bytes} bytes, more than the {LIMIT_BYTES} allowed; store it as a tensor"
    )]
    TooLarge {
        /// How many bytes it has.
        found_bytes: usize,
    },
    /// The value refused to be encoded.
    #[error("the value can not be encoded; its Encode implementation gave the reason")]
    Refused(#[source] bincode::error::EncodeError),
}

/// Bytes that are not the encoding of the expected value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end early, name an unknown variant, or claim more than the limit.
    #[error(
        "these {found_bytes} bytes are not an encoded value of this type; another version may have written them"
    )]
    Malformed {
        /// How many bytes there are.
        found_bytes: usize,
        /// What did not fit.
        source: bincode::error::DecodeError,
    },
    /// A value was decoded and bytes are left over.
    #[error(
        "the value ends after {used_bytes} of {found_bytes} bytes; another version may have written what follows"
    )]
    TrailingBytes {
        /// Where the value ended.
        used_bytes: usize,
        /// How many bytes there are.
        found_bytes: usize,
    },
}

/// Encodes a value.
///
/// # Errors
/// If it is larger than [`LIMIT_BYTES`] or refuses to be encoded.
pub fn encode<T: Encode>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let bytes = bincode::encode_to_vec(value, within::<LIMIT_BYTES>()).map_err(EncodeError::Refused)?;
    if bytes.len() > LIMIT_BYTES {
        return Err(EncodeError::TooLarge { found_bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Decodes a value from exactly these bytes.
///
/// Safe on untrusted bytes: a length in them is held against what so many bytes warrant before memory is taken for it,
/// 64 KiB for a value of up to 256 bytes, 1 MiB for one of up to 4096, and [`LIMIT_BYTES`] for any other.
///
/// # Errors
/// If the bytes are not the encoding of a `T`, or more than it.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let found_bytes = bytes.len();
    let (value, used_bytes) =
        decode_first(bytes).map_err(|source| DecodeError::Malformed { found_bytes, source })?;
    if used_bytes != found_bytes {
        return Err(DecodeError::TrailingBytes { used_bytes, found_bytes });
    }
    Ok(value)
}

/// The value at the beginning of the bytes, and where it ends. The limit is a part of bincode's types, hence the steps.
fn decode_first<T: Decode<()>>(bytes: &[u8]) -> Result<(T, usize), Malformation> {
    const SHORT_LIMIT_BYTES: usize = SHORT_BYTES * MEMORY_PER_BYTE;
    const MIDDLE_LIMIT_BYTES: usize = MIDDLE_BYTES * MEMORY_PER_BYTE;
    if bytes.len() <= SHORT_BYTES {
        bincode::decode_from_slice(bytes, within::<SHORT_LIMIT_BYTES>())
    } else if bytes.len() <= MIDDLE_BYTES {
        bincode::decode_from_slice(bytes, within::<MIDDLE_LIMIT_BYTES>())
    } else {
        bincode::decode_from_slice(bytes, within::<LIMIT_BYTES>())
    }
}

#[cfg(test)]
mod tests {
    use super::{Decode, DecodeError, Encode, Malformation, decode, encode};

    #[derive(Debug, PartialEq, Encode, Decode)]
    enum Event {
        Other,
        StepDone { step: u64, loss: f32, note: Option<String>, sizes: Vec<u32> },
    }

    fn sample() -> Event {
        Event::StepDone { step: 513, loss: 0.5, note: Some("ab".to_owned()), sizes: vec![7] }
    }

    #[test]
    fn the_encoding_is_little_endian_with_fixed_widths() {
        let golden = [
            &[1, 0, 0, 0][..],
            &[1, 2, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0x3f],
            &[1, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b'],
            &[1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0],
        ]
        .concat();
        assert_eq!(encode(&sample()).unwrap(), golden);
        assert_eq!(decode::<Event>(&golden).unwrap(), sample());
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&sample()).unwrap();
        bytes.push(0);
        assert!(matches!(decode::<Event>(&bytes), Err(DecodeError::TrailingBytes { .. })));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = encode(&sample()).unwrap();
        for end in 0..bytes.len() {
            assert!(matches!(decode::<Event>(&bytes[..end]), Err(DecodeError::Malformed { .. })), "{end}");
        }
    }

    #[test]
    fn an_unknown_variant_is_refused() {
        assert!(decode::<Event>(&[9, 0, 0, 0]).is_err());
        assert_eq!(decode::<Event>(&encode(&Event::Other).unwrap()).unwrap(), Event::Other);
    }

    #[test]
    fn a_hostile_length_is_refused_before_memory_is_taken_for_it() {
        let bytes = u64::MAX.to_le_bytes();
        assert!(decode::<Vec<u8>>(&bytes).is_err());
        assert!(decode::<Vec<u64>>(&(1_u64 << 40).to_le_bytes()).is_err());
        assert!(decode::<String>(&bytes).is_err());
    }

    /// Found by fuzzing: these thirty bytes made 16 MiB of an outer and an inner list.
    #[test]
    fn a_short_value_can_not_claim_the_memory_of_a_long_one() {
        type Lists = Vec<Option<Vec<u64>>>;
        let mut bytes = [0; 30];
        (bytes[0], bytes[2], bytes[17], bytes[20]) = (3, 8, 1, 8);
        assert_memory_is_refused::<Lists>(&bytes);
        let list_of_2_mib = (2_u64 << 20).to_le_bytes().to_vec();
        for zeros in [0, 300] {
            assert_memory_is_refused::<Vec<u8>>(&[list_of_2_mib.clone(), vec![0; zeros]].concat());
        }
    }

    #[track_caller]
    fn assert_memory_is_refused<T: Decode<()> + std::fmt::Debug>(bytes: &[u8]) {
        match decode::<T>(bytes) {
            Err(DecodeError::Malformed { source: Malformation::LimitExceeded, .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_value_of_any_length_is_read_again_although_its_elements_take_far_more_memory_than_bytes() {
        for elements in [0, 1, 247, 248, 249, 4087, 4088, 4089, 60_000] {
            let value: Vec<Option<[String; 8]>> = vec![None; elements];
            assert_eq!(decode::<Vec<Option<[String; 8]>>>(&encode(&value).unwrap()).unwrap(), value);
        }
    }
}
