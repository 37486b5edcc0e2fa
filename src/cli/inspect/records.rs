//! The records of a journal, one line each.

use super::InspectArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::cli::output::print_text;
use crate::train::event::Event;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{self, OpenError, Record, Segment, Tail};

/// The longest text in a line for people; settings and fingerprints are longer, and `--json` has them whole.
const MOST_CHARACTERS: usize = 60;

/// Every kind of record of a run by its numbers.
const KINDS: [(u16, &str); 23] = [
    (1, "RunStarted"),
    (2, "Resumed"),
    (3, "PlanChanged"),
    (4, "StepDone"),
    (5, "StepRefused"),
    (6, "EpochDone"),
    (7, "CheckpointDurable"),
    (8, "CheckpointDropped"),
    (9, "SignalReceived"),
    (10, "EarlyStopped"),
    (11, "Finished"),
    (12, "InputsChanged"),
    (13, "Stopped"),
    (14, "OutOfMemory"),
    (15, "MicroBatchChanged"),
    (16, "WorkerDied"),
    (17, "MemoryPressure"),
    (18, "StepDone"),
    (19, "HistoryLost"),
    (20, "LossScaleChanged"),
    (21, "Sampled"),
    (22, "BranchCut"),
    (23, "RunNamed"),
];

/// The name of a kind; its number, if this version does not know it.
pub(super) fn kind_name(kind: u16) -> String {
    let known = KINDS.iter().find(|(number, _)| *number == kind);
    known.map_or_else(|| format!("kind {kind}"), |(_, name)| (*name).to_owned())
}

/// The numbers of the kinds that are asked for; nothing if all are.
fn wanted(kinds: &[String]) -> Result<Option<BTreeSet<u16>>, Failure> {
    if kinds.is_empty() {
        return Ok(None);
    }
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    let mut wanted = BTreeSet::new();
    for kind in kinds {
        let number = kind.parse::<u16>().ok();
        let named: Vec<u16> =
            KINDS.iter().filter(|(_, name)| plain(name) == plain(kind)).map(|(number, _)| *number).collect();
        if named.is_empty() && number.is_none() {
            let names: BTreeSet<&str> = KINDS.iter().map(|(_, name)| *name).collect();
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            let message = format!("--kind: there is no kind of record called {kind:?}; there are {names}");
            return Err(Failure::new(Exit::Usage, message));
        }
        wanted.extend(named.into_iter().chain(number));
    }
    Ok(Some(wanted))
}

/// A record's fields by their names; nothing if this version does not know the record.
fn fields(record: &Record) -> Option<Map<String, Value>> {
    let event = Event::decode(record.sequence, record.kind, &record.payload).ok()?;
    let Ok(Value::Object(tagged)) = serde_json::to_value(&event) else { return None };
    let Some((_, Value::Object(mut fields))) = tagged.into_iter().next() else { return None };
    if let Some(bits) =
        fields.get("loss_bits").and_then(Value::as_u64).and_then(|bits| u32::try_from(bits).ok())
    {
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
    Some(fields)
}

/// The line of a record.
fn line(record: &Record, is_json: bool) -> String {
    let Record { sequence, kind, payload } = record;
    let (name, fields) = (kind_name(*kind), fields(record));
    let unknown = format!("{} bytes that this version can not read", payload.len());
    if is_json {
        let mut object = Map::new();
        object.insert("sequence".to_owned(), json!(sequence));
        object.insert("kind".to_owned(), json!(name));
        object.insert("number".to_owned(), json!(kind));
        object.insert("fields".to_owned(), fields.map_or(Value::Null, Value::Object));
        return format!("{}\n", Value::Object(object));
    }
    let mut line = format!("{sequence:>7}  {name:<17}");
    match fields {
        None => _ = write!(line, "  {unknown}"),
        Some(fields) => {
            fields.iter().filter(|(key, _)| *key != "loss_bits").for_each(|(key, value)| {
                _ = write!(line, "  {key}={}", short(value));
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
    let wanted = wanted(&args.kind)?;
    let is_wanted = |record: &&Record| wanted.as_ref().is_none_or(|wanted| wanted.contains(&record.kind));
    let chosen: Vec<&Record> = records.iter().filter(is_wanted).collect();
    let skipped = args.last.map_or(0, |last| chosen.len().saturating_sub(last));
    for piece in chosen.get(skipped..).unwrap_or_default().chunks(1000) {
        let lines: String = piece.iter().map(|record| line(record, args.json)).collect();
        print_text(&lines, out);
    }
    Ok(())
}

/// Prints the records of one segment.
pub(super) fn of_segment(args: &InspectArgs, path: &Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let segment = read(path)?;
    print(args, &segment.records, out)?;
    Ok(end(&segment))
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

/// Reads a segment.
pub(super) fn read(path: &Path) -> Result<Segment, Failure> {
    journal::read_segment(&RealDisk, path).map_err(refuse)
}

/// A journal that can not be read: damaged, of another version, or on a disk that fails.
pub(super) fn refuse(error: OpenError) -> Failure {
    let is_ours = error.is_damage() || matches!(error, OpenError::Version { .. });
    fail(if is_ours { Exit::Damaged } else { Exit::StorageFailed })(error)
}

/// Says how a segment ends, and gives the exit code that this means.
fn end(segment: &Segment) -> Exit {
    if let Some(damage) = &segment.damage {
        log::error!("{damage}");
        return Exit::Damaged;
    }
    if let Tail::Torn { torn_bytes, .. } = &segment.tail {
        torn(*torn_bytes);
    }
    Exit::Finished
}

fn torn(bytes: u64) {
    log::info!("the last {bytes} bytes are not a whole record (yet); the next run sets them aside");
}

#[cfg(test)]
mod tests {
    use super::{KINDS, short, wanted};
    use crate::train::event::{Event, EventError};
    use serde_json::json;

    #[test]
    fn the_table_has_every_kind_that_this_version_reads_and_no_other() {
        let known = |kind| !matches!(Event::decode(1, kind, &[]), Err(EventError::UnknownKind { .. }));
        let known: Vec<u16> = (0..=u16::MAX).filter(|kind| known(*kind)).collect();
        assert_eq!(known, KINDS.map(|(number, _)| number));
    }

    #[test]
    fn kinds_are_named_in_any_spelling_or_by_number() {
        let wanted_of = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            wanted(&texts).map(|found| found.map(|found| found.into_iter().collect::<Vec<_>>()))
        };
        assert_eq!(wanted_of(&[]).unwrap(), None);
        assert_eq!(wanted_of(&["step_done", "FINISHED", "77"]).unwrap(), Some(vec![4, 11, 18, 77]));
        let error = wanted_of(&["stepdon"]).unwrap_err().message();
        assert!(error.contains("\"stepdon\"") && error.contains("StepDone"), "{error}");
    }

    #[test]
    fn a_value_takes_one_line_and_no_more_room_than_one_reads() {
        assert_eq!(short(&json!("SIGTERM")), "SIGTERM");
        assert_eq!(short(&json!("two words\n")), r#""two words\n""#);
        assert_eq!(short(&json!(null)), "-");
        assert_eq!(short(&json!("x".repeat(200))).len(), 63);
    }
}
