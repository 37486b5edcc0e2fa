//! Fingerprints of the data files, by which a resumed run notices that its data changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// Size and checksum of a file's content. It detects accidental change, not an adversary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// The file as the settings name it.
    pub path: String,
    /// Length of the file in bytes.
    pub size_bytes: u64,
    /// CRC-32 (IEEE 802.3) of the whole file, eight hexadecimal digits.
    pub crc32: String,
}

impl Fingerprint {
    pub(crate) fn new(path: impl Into<String>, size_bytes: usize, crc32: u32) -> Self {
        Self { path: path.into(), size_bytes: size_bytes as u64, crc32: format!("{crc32:08x}") }
    }

    /// Whether both describe the same content, wherever it lies.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.size_bytes == other.size_bytes && self.crc32 == other.crc32
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes, crc32 {})", self.path, self.size_bytes, self.crc32)
    }
}

/// The fingerprint of every file of a data set, keyed by the setting that names the file (`data.train`,
/// `data.inputs.x.file`, ...). Its serialised form is `data.lock.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataLock {
    /// Setting -> fingerprint.
    pub files: BTreeMap<String, Fingerprint>,
}

impl DataLock {
    /// Every setting whose file differs in content between `self` (then) and `now`. A file that was only moved does
    /// not differ.
    #[must_use]
    pub fn differences(&self, now: &Self) -> Vec<DataChange> {
        let settings: BTreeSet<&String> = self.files.keys().chain(now.files.keys()).collect();
        settings
            .into_iter()
            .filter_map(|setting| match (self.files.get(setting), now.files.get(setting)) {
                (Some(was), Some(is)) if was.same_content(is) => None,
                (was, is) => {
                    Some(DataChange { setting: setting.clone(), was: was.cloned(), is: is.cloned() })
                }
            })
            .collect()
    }
}

/// One file that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataChange {
    /// The setting that names the file.
    pub setting: String,
    /// The file of the recorded run; `None` if it used none here.
    pub was: Option<Fingerprint>,
    /// The file now; `None` if none is used here any more.
    pub is: Option<Fingerprint>,
}

impl fmt::Display for DataChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |file: &Option<Fingerprint>| file.as_ref().map_or("none".to_owned(), ToString::to_string);
        write!(f, "{}: was {}, is {}", self.setting, show(&self.was), show(&self.is))
    }
}
