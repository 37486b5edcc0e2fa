//! Results on stdout, for people or for programs.

use super::exit::Exit;
use super::failure::{Failure, fail};
use serde::{Serialize, Serializer};
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why a result is not where it should be.
#[derive(Debug, thiserror::Error)]
#[error("can not write the result to the output: {0}; check where it leads")]
struct OutputError(#[source] io::Error);

/// Prints a result, as JSON or in its own words.
///
/// # Errors
/// As [`print_text`].
pub fn print(report: &(impl Serialize + Display), json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let text = if json { serde_json::to_string_pretty(report) } else { Ok(report.to_string()) };
    let text = text.map_err(fail(Exit::Failure))?;
    print_text(&format!("{}\n", text.trim_end()), out)
}

/// Prints lines. A reader that has gone away, such as `head`, is no failure: what was to be done is done.
///
/// # Errors
/// With [`Exit::StorageFailed`] if the output takes no more: a file on a full disk would lack a part that nobody misses.
pub fn print_text(lines: &str, out: &mut dyn Write) -> Result<(), Failure> {
    written(out.write_all(lines.as_bytes()).and_then(|()| out.flush()))
}

/// A path in JSON, which has UTF-8 alone: other bytes are replaced, so that one odd name does not take the whole result.
pub fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// As [`path`]; `null` if there is none.
#[allow(clippy::ref_option)]
pub fn optional_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

/// What it means that writing results ended so.
///
/// # Errors
/// As [`print_text`].
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            log::debug!("the reader of the result has gone away");
            Ok(())
        }
        result => result.map_err(OutputError).map_err(fail(Exit::StorageFailed)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, written};
    use std::io;

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is_one() {
        assert!(written(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        let failure = written(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(failure.exit, Exit::StorageFailed);
        assert!(failure.message().starts_with("can not write the result to the output: "));
    }
}
