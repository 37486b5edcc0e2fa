//! Results on stdout, for people or for programs.

use serde::Serialize;
use std::fmt::Display;
use std::io::Write;

/// Prints a result, as JSON or in its own words.
pub fn print(report: &(impl Serialize + Display), json: bool, out: &mut dyn Write) {
    match if json { serde_json::to_string_pretty(report) } else { Ok(report.to_string()) } {
        Ok(text) => print_text(&format!("{}\n", text.trim_end()), out),
        Err(error) => log::debug!("the result could not be printed: {error}"),
    }
}

/// Prints lines. A reader that has gone away is no failure: what was to be done is done.
pub fn print_text(lines: &str, out: &mut dyn Write) {
    if let Err(error) = out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
        log::debug!("the result could not be printed: {error}");
    }
}
