//! Whether a file is a whole shared library for this machine, found out before the dynamic loader maps it.
//!
//! The loader trusts its input: a library that was cut off in the middle is mapped all the same, and the process dies
//! of SIGBUS at the first page that is not there. So the headers are read here first, with every offset checked
//! against the size of the file.
//! Source of the layout: System V ABI, chapter 4 "Object Files" and chapter 5 "Program Loading", ELF64.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use thiserror::Error;

const FILE_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: u64 = 56;
/// `e_type` of a shared library.
const ET_DYN: u16 = 3;
/// `p_type` of a part of the file that is mapped.
const PT_LOAD: u32 = 1;

/// Why a file is not a whole shared library for this machine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NotALibrary {
    /// It can not be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It is not in the format of Linux libraries at all.
    #[error("it is not a shared library: it begins with {begins:?}, not with an ELF header")]
    NotElf {
        /// Its first bytes, as text.
        begins: String,
    },
    /// It is a program, an object file, or something else in the same format.
    #[error("it is an ELF file, but not a shared library (type {found}, expected {ET_DYN})")]
    OtherType {
        /// Its `e_type`.
        found: u16,
    },
    /// It is a library for another processor.
    #[error("it is built for {found}, and this machine needs {expected}")]
    OtherMachine {
        /// The processor it was built for.
        found: String,
        /// The processor of this program.
        expected: String,
    },
    /// It was cut off.
    #[error("it is cut off: {found_bytes} bytes, and its own headers say {expected_bytes}")]
    Truncated {
        /// Size of the file.
        found_bytes: u64,
        /// The size that its headers ask for at least.
        expected_bytes: u64,
    },
}

/// Reads the headers of the file at `path` and checks that it is whole.
///
/// # Errors
/// The first thing found that makes the file unfit to be loaded.
pub fn check(path: &Path) -> Result<(), NotALibrary> {
    let file = File::open(path).map_err(NotALibrary::Unreadable)?;
    let metadata = file.metadata().map_err(NotALibrary::Unreadable)?;
    if metadata.is_dir() {
        return Err(NotALibrary::Unreadable(io::ErrorKind::IsADirectory.into()));
    }
    check_headers(&file, metadata.len())
}

fn check_headers(file: &File, found_bytes: u64) -> Result<(), NotALibrary> {
    let mut header = [0_u8; FILE_HEADER_BYTES];
    let present = found_bytes.min(FILE_HEADER_BYTES as u64) as usize;
    let start = header.get_mut(..present).unwrap_or_default();
    file.read_exact_at(start, 0).map_err(NotALibrary::Unreadable)?;
    if !start.starts_with(b"\x7fELF") {
        let begins = String::from_utf8_lossy(start.get(..24).unwrap_or(start)).into_owned();
        return Err(NotALibrary::NotElf { begins });
    }
    let truncated = |expected_bytes| NotALibrary::Truncated { found_bytes, expected_bytes };
    if present < FILE_HEADER_BYTES {
        return Err(truncated(FILE_HEADER_BYTES as u64));
    }
    check_machine(&header)?;
    let found = u16_at(&header, 16);
    if found != ET_DYN {
        return Err(NotALibrary::OtherType { found });
    }

    let table_offset = u64_at(&header, 32);
    let entries = u64::from(u16_at(&header, 56));
    // At most 65535 entries of 56 bytes: the table that is read is never large.
    let table_end = table_offset.saturating_add(entries * PROGRAM_HEADER_BYTES);
    let sections_end =
        u64_at(&header, 40).saturating_add(u64::from(u16_at(&header, 58)) * u64::from(u16_at(&header, 60)));
    let mut expected_bytes = table_end.max(sections_end);
    for index in 0..entries {
        let mut entry = [0_u8; PROGRAM_HEADER_BYTES as usize];
        let offset = table_offset.saturating_add(index * PROGRAM_HEADER_BYTES);
        if offset.saturating_add(PROGRAM_HEADER_BYTES) > found_bytes {
            return Err(truncated(expected_bytes));
        }
        file.read_exact_at(&mut entry, offset).map_err(NotALibrary::Unreadable)?;
        if u32_at(&entry, 0) == PT_LOAD {
            let (segment_offset, segment_bytes) = (u64_at(&entry, 8), u64_at(&entry, 32));
            expected_bytes = expected_bytes.max(segment_offset.saturating_add(segment_bytes));
        }
    }
    if found_bytes < expected_bytes { Err(truncated(expected_bytes)) } else { Ok(()) }
}

fn check_machine(header: &[u8]) -> Result<(), NotALibrary> {
    let class = header.get(4).copied().unwrap_or_default();
    let machine = u16_at(header, 18);
    let expected = std::env::consts::ARCH;
    let found = match (class, machine) {
        (2, 62) => "x86_64".to_owned(),
        (2, 183) => "aarch64".to_owned(),
        (2, 243) => "riscv64".to_owned(),
        (2, 21) => "powerpc64".to_owned(),
        (1, machine) => format!("a 32-bit processor (number {machine})"),
        (_, machine) => format!("processor number {machine}"),
    };
    // On a processor without a number here, the loader decides.
    let known = ["x86_64", "aarch64", "riscv64", "powerpc64"].contains(&expected);
    if known && found != expected {
        return Err(NotALibrary::OtherMachine { found, expected: expected.to_owned() });
    }
    Ok(())
}

fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, offset))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A whole shared library that this very process has loaded: the C library's mathematics.
    pub(crate) fn some_library() -> PathBuf {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let path = |line: &str| line.split_whitespace().nth(5).map(PathBuf::from);
        let named = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libm.so") || name.starts_with("libm-") || name.starts_with("libc.so")
        };
        maps.lines().filter_map(path).find(named).expect("a Rust program links the C library")
    }

    #[track_caller]
    fn check_refused(content: &[u8], expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib.so");
        fs::write(&path, content).unwrap();
        let message = check(&path).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn a_whole_library_passes() {
        check(&some_library()).unwrap();
    }

    #[test]
    fn a_library_cut_off_anywhere_is_refused() {
        let whole = fs::read(some_library()).unwrap();
        for length in [16, 63, 64, 100, 4096, whole.len() / 2, whole.len() - 1] {
            check_refused(&whole[..length], "cut off");
        }
    }

    #[test]
    fn text_and_nothing_are_not_libraries() {
        check_refused(
            b"version https://git-lfs.github.com/spec/v1",
            "begins with \"version https://git-lfs.\"",
        );
        check_refused(b"", "not a shared library");
    }

    #[test]
    fn other_types_and_processors_are_refused() {
        let whole = fs::read(some_library()).unwrap();
        let with = |offset: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[offset] = byte;
            bytes
        };
        check_refused(&with(16, 2), "not a shared library (type 2");
        check_refused(&with(18, 243), "riscv64");
        check_refused(&with(4, 1), "32-bit");
    }

    #[test]
    fn offsets_at_the_end_of_the_number_range_neither_overflow_nor_pass() {
        let mut bytes = fs::read(some_library()).unwrap();
        bytes[32..40].fill(0xFF);
        check_refused(&bytes, "cut off");
        bytes[32..40].fill(0);
        bytes[56..58].fill(0xFF);
        check_refused(&bytes, "cut off");
    }

    #[test]
    fn a_folder_is_not_a_library() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(check(folder.path()), Err(NotALibrary::Unreadable(_))));
    }
}
