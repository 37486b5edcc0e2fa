//! `trainer history`: what a run did, from its journal. Nothing is changed and no lock is taken, so it works while the run
//! goes on.

use super::exit::Exit;
use super::failure::Failure;
use super::output::print_text;
use crate::report::recorded::Recorded;
use crate::train::event::{BranchCut, EpochDone, Event, StepDone};
use crate::train::history::History;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `trainer history`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer history exp              a row per epoch, and every interruption in its place
  trainer history exp --steps --csv > steps.csv")]
pub struct HistoryArgs {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    pub work_dir: PathBuf,
    /// A row per step instead of one per epoch
    #[arg(long)]
    pub steps: bool,
    /// Print CSV, without interruptions
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Print a JSON object per line, interruptions among them
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// If the folder is not that of a run, or its journal can not be read.
pub fn run(args: &HistoryArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let dir = &args.work_dir;
    let Recorded { events, history, .. } =
        Recorded::read(dir).map_err(|error| Failure::unread(dir, error))?;
    let notes = notes(&events);
    let text = match (args.csv, args.json, args.steps) {
        (true, _, false) => history.to_csv(),
        (true, _, true) => steps_csv(&history),
        (false, is_json, is_steps) => {
            let rows = if is_steps { step_rows(&history) } else { epoch_rows(&history) };
            render(rows, notes, is_json)
        }
    };
    print_text(&text, out);
    Ok(Exit::Finished)
}

/// Something that happened after an update, besides updates and epochs.
struct Note {
    step: u64,
    what: &'static str,
    text: String,
    /// More for programs.
    details: Option<Value>,
}

/// A branch that ended, for programs.
fn branch_json(cut: &BranchCut) -> Value {
    let best = cut.best.map(|best| json!({ "value": best.value, "epoch": best.epoch, "step": best.step }));
    json!({
        "branch": cut.branch, "checkpoint": cut.checkpoint, "of_branch": cut.of_branch, "reached_step": cut.reached_step,
        "reached_epoch": cut.reached_epoch, "best": best, "moved": cut.moved,
    })
}

/// What interrupted or changed the run, in the order in which it happened.
fn notes(events: &[Event]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut step = 0;
    for event in events {
        let (at, what, text) = match event {
            Event::StepDone(done) => {
                step = done.step;
                continue;
            }
            Event::Resumed(resumed) => {
                let from = resumed.checkpoint.as_deref().unwrap_or("the initial state");
                (resumed.step, "resumed", format!("attempt {} from {from}", resumed.attempt))
            }
            Event::SignalReceived(received) => (received.step, "signal", received.signal.clone()),
            Event::Stopped(stopped) => (stopped.step, "stopped", stopped.reason.clone()),
            Event::WorkerDied(died) => (step, "died", died.cause.clone()),
            Event::PlanChanged(changed) => (step, "settings changed", changed.changes.join("; ")),
            Event::InputsChanged(changed) => (step, "inputs changed", changed.changes.join("; ")),
            Event::OutOfMemory(memory) => (memory.step, "out of memory", memory.message.clone()),
            Event::MemoryPressure(pressure) => (pressure.step, "memory runs out", pressure.reason.clone()),
            Event::MicroBatchChanged(changed) => {
                (changed.step, "micro-batch", format!("{}: {}", changed.micro_batch, changed.reason))
            }
            Event::EarlyStopped(stopped) => {
                let words =
                    format!("no better {} in {} epochs", stopped.monitor, stopped.epochs_without_improvement);
                (step, "early stop", words)
            }
            Event::StepRefused(refused) => {
                (step, "refused", format!("batch {} of epoch {} is not finite", refused.batch, refused.epoch))
            }
            Event::LossScaleChanged(changed) => {
                (step, "loss scale", format!("{} instead of {}", changed.to, changed.from))
            }
            Event::BranchCut(cut) => (cut.step, "branch", cut.to_string()),
            Event::RunNamed(named) => (step, "named", named.name.clone()),
            Event::HistoryLost(lost) => {
                (lost.step, "history lost", format!("goes on from {}", lost.checkpoint))
            }
            Event::Finished(finished) => (finished.step, "finished", finished.reason.clone()),
            Event::RunStarted(_)
            | Event::EpochDone(_)
            | Event::CheckpointDurable(_)
            | Event::CheckpointDropped(_) => continue,
        };
        let details = if let Event::BranchCut(cut) = event { Some(branch_json(cut)) } else { None };
        notes.push(Note { step: at, what, text, details });
        step = at;
    }
    notes
}

/// A line of the table: after which update, its cells, and the same as JSON.
struct Row {
    step: u64,
    cells: Vec<(String, String)>,
    json: Value,
}

fn epoch_rows(history: &History) -> Vec<Row> {
    let rows = history.epochs.values().map(|epoch| {
        let EpochDone { epoch, step, lr, train_loss, validation, is_best, seconds, attempt } = epoch;
        let mut cells = vec![
            ("epoch".to_owned(), epoch.to_string()),
            ("step".to_owned(), step.to_string()),
            ("train_loss".to_owned(), format!("{train_loss:.4}")),
        ];
        cells.extend(validation.iter().map(|(name, value)| (name.clone(), format!("{value:.4}"))));
        cells.push(("lr".to_owned(), format!("{lr:.2e}")));
        cells.push(("seconds".to_owned(), format!("{seconds:.2}")));
        cells.push(("attempt".to_owned(), attempt.to_string()));
        cells.push(("".to_owned(), if *is_best { "best".to_owned() } else { String::new() }));
        let mut json = json!({
            "epoch": epoch, "step": step, "lr": lr, "train_loss": train_loss, "is_best": is_best, "seconds": seconds,
            "attempt": attempt,
        });
        for (name, value) in validation {
            if let Some(object) = json.as_object_mut() {
                object.insert(name.clone(), Value::from(*value));
            }
        }
        Row { step: *step, cells, json }
    });
    rows.collect()
}

fn step_rows(history: &History) -> Vec<Row> {
    let rows = history.steps.values().map(|done| {
        let StepDone { step, epoch, batch, lr, gradient_norm, .. } = done;
        let (loss, attempt) = (f32::from_bits(done.loss_bits), history.attempt_of_step(*step).unwrap_or(1));
        let cells = [
            ("step", step.to_string()),
            ("epoch", epoch.to_string()),
            ("batch", batch.to_string()),
            ("loss", format!("{loss:.6}")),
            ("lr", format!("{lr:.3e}")),
            ("gradient_norm", format!("{gradient_norm:.4}")),
            ("attempt", attempt.to_string()),
        ];
        let json = json!({
            "step": step, "epoch": epoch, "batch": batch, "loss": loss, "lr": lr, "gradient_norm": gradient_norm,
            "attempt": attempt,
        });
        Row { step: *step, cells: cells.map(|(name, text)| (name.to_owned(), text)).to_vec(), json }
    });
    rows.collect()
}

fn steps_csv(history: &History) -> String {
    let mut csv = String::from("step,epoch,batch,loss,lr,gradient_norm,attempt\n");
    for done in history.steps.values() {
        let StepDone { step, epoch, batch, lr, gradient_norm, .. } = done;
        let (loss, attempt) = (f32::from_bits(done.loss_bits), history.attempt_of_step(*step).unwrap_or(1));
        _ = writeln!(csv, "{step},{epoch},{batch},{loss},{lr},{gradient_norm},{attempt}");
    }
    csv
}

/// Rows and notes in the order of the updates.
fn render(rows: Vec<Row>, notes: Vec<Note>, is_json: bool) -> String {
    let mut columns: Vec<String> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.cells) {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    let cell = |row: &Row, column: &String| {
        row.cells.iter().find(|(name, _)| name == column).map(|(_, text)| text.clone()).unwrap_or_default()
    };
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| rows.iter().map(|row| cell(row, column).len()).chain([column.len()]).max().unwrap_or(0))
        .collect();
    let line = |texts: Vec<String>| {
        let padded = texts.iter().zip(&widths).map(|(text, width)| format!("{text:>width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut out = String::new();
    if !is_json && !rows.is_empty() {
        out.push_str(&line(columns.clone()));
    }
    let mut notes = notes.into_iter().peekable();
    let write_note = |out: &mut String, note: Note| {
        let Note { step, what, text, details } = note;
        if is_json {
            let mut line = json!({ "note": what, "step": step, "text": text });
            if let (Some(line), Some(details)) = (line.as_object_mut(), details) {
                line.insert("ended".to_owned(), details);
            }
            _ = writeln!(out, "{line}");
        } else {
            _ = writeln!(out, "-- {what} at step {step}: {text}");
        }
    };
    for row in rows {
        while let Some(note) = notes.next_if(|note| note.step < row.step) {
            write_note(&mut out, note);
        }
        if is_json {
            _ = writeln!(out, "{}", row.json);
        } else {
            out.push_str(&line(columns.iter().map(|column| cell(&row, column)).collect()));
        }
    }
    notes.for_each(|note| write_note(&mut out, note));
    out
}
