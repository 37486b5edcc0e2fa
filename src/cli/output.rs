//! Results on stdout, for people or for programs.

use serde::Serialize;
use std::fmt::Display;
use std::io::Write;

/// Prints a result. A reader that has gone away is no failure: what was to be done is done.
pub fn print(report: &(impl Serialize + Display), json: bool, out: &mut dyn Write) {
    let text = if json { serde_json::to_string_pretty(report) } else { Ok(report.to_string()) };
    let printed = text.map_err(std::io::Error::from).and_then(|text| writeln!(out, "{}", text.trim_end()));
    if let Err(error) = printed {
        log::debug!("the result could not be printed: {error}");
    }
}
