//! The records of a journal, one line each.

use super::InspectArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::cli::output::print_text;
use crate::cli::table::printable;
use crate::train::event::Event;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{self, OpenError, Record, Segment, Tail};

/// The longest text in a line for people; settings and fingerprints are longer, and `--json` has them whole.
const MOST_CHARACTERS: usize = 60;

/// A record's kind by name, and its fields; nothing if this version does not know the record.
fn decoded(record: &Record) -> Option<(String, Map<String, Value>)> {
    let event = Event::decode(record.sequence, record.kind, &record.payload).ok()?;
    // An enum is an object with one key, the name of the variant.
    let Ok(Value::Object(tagged)) = serde_json::to_value(&event) else { return None };
    let Some((name, Value::Object(mut fields))) = tagged.into_iter().next() else { return None };
    let bits = fields.get("loss_bits").and_then(Value::as_u64).and_then(|bits| u32::try_from(bits).ok());
    if let Some(bits) = bits {
        fields.insert("loss".to_owned(), Value::from(f32::from_bits(bits)));
    }
    // Numbers of 64 bits are more than JSON's readers keep, and a list of bytes is more than people do.
    let digest = fields.get("digest").and_then(|digest| match digest {
        Value::Number(number) => number.as_u64().map(|number| format!("{number:016x}")),
        Value::Array(bytes) => {
            Some(bytes.iter().filter_map(Value::as_u64).map(|byte| format!("{byte:02x}")).collect())
        }
        _ => None,
    });
    if let Some(digest) = digest {
        fields.insert("digest".to_owned(), Value::from(digest));
    }
    Some((name, fields))
}

/// The names of kinds, each found out once.
#[derive(Default)]
pub(super) struct KindNames(BTreeMap<u16, String>);

impl KindNames {
    /// The name of a record's kind; its number, if this version does not know it.
    pub(super) fn of(&mut self, record: &Record) -> &str {
        self.0.entry(record.kind).or_insert_with(|| {
            decoded(record).map_or_else(|| format!("kind {}", record.kind), |(name, _)| name)
        })
    }
}

/// Whether a kind is one of these, by name in any spelling or by number.
fn is_one_of(kinds: &[String], number: u16, name: &str) -> bool {
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    kinds.iter().any(|kind| kind.parse() == Ok(number) || plain(kind) == plain(name))
}

/// A record for programs.
#[derive(Serialize)]
struct RecordLine<'a> {
    sequence: u64,
    /// The kind by its name.
    kind: &'a str,
    /// The kind by its number.
    number: u16,
    /// Nothing where this version does not know the kind.
    fields: Option<Map<String, Value>>,
}

/// The line of a record.
fn line(record: &Record, is_json: bool) -> String {
    let Record { sequence, kind: number, payload } = record;
    let (kind, fields) = match decoded(record) {
        Some((kind, fields)) => (kind, Some(fields)),
        None => (format!("kind {number}"), None),
    };
    if is_json {
        let line = RecordLine { sequence: *sequence, kind: &kind, number: *number, fields };
        return serde_json::to_string(&line).unwrap_or_default() + "\n";
    }
    let mut line = format!("{sequence:>7}  {kind:<17}");
    match fields {
        None => _ = write!(line, "  {} bytes that this version can not read", payload.len()),
        Some(fields) => {
            fields.iter().filter(|(key, _)| *key != "loss_bits").for_each(|(key, value)| {
                _ = write!(line, "  {key}={}", printable(&short(value)));
            });
        }
    }
    line.truncate(line.trim_end().len());
    line + "\n"
}

/// A value on one line.
fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if !text.contains(char::is_whitespace) && !text.is_empty() => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= MOST_CHARACTERS {
        return text;
    }
    let start: String = text.chars().take(MOST_CHARACTERS).collect();
    format!("{start}...")
}

/// Prints those of the records that are asked for.
fn print(args: &InspectArgs, records: &[Record], out: &mut dyn Write) -> Result<(), Failure> {
    let mut names = KindNames::default();
    let is_wanted =
        |record: &&Record| args.kind.is_empty() || is_one_of(&args.kind, record.kind, names.of(record));
    let chosen: Vec<&Record> = records.iter().filter(is_wanted).collect();
    if chosen.is_empty() && !records.is_empty() {
        let kinds: BTreeSet<String> = records.iter().map(|record| names.of(record).to_owned()).collect();
        let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
        log::warn!("none of the records is of kind {}; there are {kinds}", args.kind.join(", "));
    }
    let skipped = args.last.map_or(0, |last| chosen.len().saturating_sub(last));
    for piece in chosen.get(skipped..).unwrap_or_default().chunks(1000) {
        let lines: String = piece.iter().map(|record| line(record, args.json)).collect();
        print_text(&lines, out)?;
    }
    Ok(())
}

/// Prints the records of one segment, up to the first damage.
pub(super) fn of_segment(args: &InspectArgs, path: &Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Segment { records, damage, tail, .. } = journal::read_segment(&RealDisk, path).map_err(refuse)?;
    print(args, &records, out)?;
    if let Some(damage) = damage {
        return Err(fail(Exit::Damaged)(damage));
    }
    if let Tail::Torn { torn_bytes, .. } = tail {
        torn(torn_bytes);
    }
    Ok(Exit::Finished)
}

/// Prints the records of a journal, up to the first damage.
pub(super) fn of_folder(args: &InspectArgs, dir: &Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let contents = journal::read(&RealDisk, dir);
    if let Ok(contents) = &contents {
        print(args, &contents.records, out)?;
        if let Tail::Torn { torn_bytes, .. } = &contents.tail {
            torn(*torn_bytes);
        }
        return Ok(Exit::Finished);
    }
    let mut records = Vec::new();
    for (path, _) in journal::segments(&RealDisk, dir).map_err(fail(Exit::StorageFailed))? {
        let Ok(segment) = journal::read_segment(&RealDisk, &path) else { break };
        records.extend(segment.records);
        if segment.damage.is_some() {
            break;
        }
    }
    print(args, &records, out)?;
    contents.map(|_| Exit::Finished).map_err(refuse)
}

/// A journal that can not be read: damaged, of another version, or on a disk that fails.
pub(super) fn refuse(error: OpenError) -> Failure {
    let is_ours = error.is_damage() || matches!(error, OpenError::Version { .. });
    fail(if is_ours { Exit::Damaged } else { Exit::StorageFailed })(error)
}

fn torn(bytes: u64) {
    log::info!("the last {bytes} bytes are not a whole record (yet); the next run sets them aside");
}

#[cfg(test)]
mod tests {
    use super::{is_one_of, short};
    use serde_json::json;

    #[test]
    fn kinds_are_named_in_any_spelling_or_by_number() {
        let is = |kind: &str| is_one_of(&[kind.to_owned()], 4, "StepDone");
        assert!(["step_done", "STEPDONE", "Step-Done", "4"].into_iter().all(is));
        assert!(!["step", "14", "", "StepRefused"].into_iter().any(is));
    }

    #[test]
    fn a_value_takes_one_line_and_no_more_room_than_one_reads() {
        assert_eq!(short(&json!("SIGTERM")), "SIGTERM");
        assert_eq!(short(&json!("two words\n")), r#""two words\n""#);
        assert_eq!(short(&json!(null)), "-");
        assert_eq!(short(&json!("x".repeat(200))).len(), 63);
    }
}
