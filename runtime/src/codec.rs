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

#[doc(hidden)]
pub use bincode;
pub use bincode::{Decode, Encode};

/// The largest encoded value, and the most memory that decoding one may claim: 16 MiB.
pub const LIMIT_BYTES: usize = 16 << 20;

const CONFIGURATION: Configuration<LittleEndian, Fixint, Limit<LIMIT_BYTES>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT_BYTES>();

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
    let bytes = bincode::encode_to_vec(value, CONFIGURATION).map_err(EncodeError::Refused)?;
    if bytes.len() > LIMIT_BYTES {
        return Err(EncodeError::TooLarge { found_bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Decodes a value from exactly these bytes.
///
/// Safe on untrusted bytes: a length in them is held against [`LIMIT_BYTES`] before memory is taken for it.
///
/// # Errors
/// If the bytes are not the encoding of a `T`, or more than it.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let found_bytes = bytes.len();
    let (value, used_bytes) = bincode::decode_from_slice(bytes, CONFIGURATION)
        .map_err(|source| DecodeError::Malformed { found_bytes, source })?;
    if used_bytes != found_bytes {
        return Err(DecodeError::TrailingBytes { used_bytes, found_bytes });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::{Decode, DecodeError, Encode, decode, encode};

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
}
