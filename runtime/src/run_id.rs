//! The identity that ties the files of one run together, and the randomness that files are salted with.

use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::codec::{Decode, Encode};

/// Identifies one run: 16 random bytes, the same in its journal and in all of its checkpoints.
///
/// Shown and parsed as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct RunId(
    /// The bytes as they are stored.
    pub [u8; 16],
);

impl RunId {
    /// Draws a new identity from the operating system.
    ///
    /// # Errors
    /// If the operating system has no random numbers to give.
    pub fn random() -> io::Result<RunId> {
        random_bytes().map(RunId)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({self})")
    }
}

/// A text that is not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a run id: expected 32 lower-case hexadecimal digits")]
pub struct ParseRunIdError {
    /// The text.
    pub found: String,
}

impl FromStr for RunId {
    type Err = ParseRunIdError;

    fn from_str(text: &str) -> Result<RunId, ParseRunIdError> {
        let refuse = || ParseRunIdError { found: text.chars().take(64).collect() };
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refuse());
        }
        u128::from_str_radix(text, 16).map(|id| RunId(id.to_be_bytes())).map_err(|_| refuse())
    }
}

/// `N` bytes from the operating system's generator.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::RunId;

    #[test]
    fn a_run_id_survives_its_text_form() {
        let id = RunId::random().unwrap();
        assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "00", "+0000000000000000000000000000000", "ABCDEFABCDEFABCDEFABCDEFABCDEFAB"] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
