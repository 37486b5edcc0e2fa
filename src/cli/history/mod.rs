//! `trainer history`: what a run did, from its journal. Nothing is changed and no lock is taken, so it works while the run
//! goes on.
//!
//! Belongs here: rows of epochs and steps, notes of what came between, and how they are printed. Does not belong here: what
//! records mean, which `train::history` knows.

use super::exit::Exit;
use super::failure::Failure;
use super::output::print_text;
use super::run::counted;
use crate::report::recorded::Recorded;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

mod follow;
mod notes;
mod rows;

use notes::{Note, Notes};
use rows::Row;

/// Arguments of `trainer history`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer history exp              a row per epoch, and every interruption in its place
  trainer history exp --follow     the same, and goes on as the run does, until it ends or Ctrl-C
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
    /// Go on printing what the run adds until it ends, or Ctrl-C; steps that a change made void are printed again as they
    /// are computed again
    #[arg(short, long)]
    pub follow: bool,
}

/// Runs the command.
///
/// # Errors
/// If the folder is not that of a run, or its journal can not be read.
pub fn run(args: &HistoryArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    if args.follow {
        return follow::follow(args, out);
    }
    let dir = &args.work_dir;
    let recorded = Recorded::read(dir).map_err(|error| Failure::unread(dir, error))?;
    print_text(&text(args, &recorded), out)?;
    if !args.steps && recorded.history.epochs.is_empty() {
        let steps = recorded.history.steps.len();
        let hint = if steps > 0 {
            format!("; `--steps` shows {}", counted(steps as u64, "step"))
        } else {
            String::new()
        };
        log::info!("no epoch of {} has ended yet{hint}", dir.display());
    }
    Ok(Exit::Finished)
}

/// All that is recorded.
fn text(args: &HistoryArgs, recorded: &Recorded) -> String {
    let history = &recorded.history;
    match (args.csv, args.steps) {
        (true, false) => history.to_csv(),
        (true, true) => rows::steps_csv(history),
        (false, is_steps) => {
            let rows = if is_steps { rows::of_steps(history) } else { rows::of_epochs(history) };
            render(&rows, Notes::default().of_all(&recorded.events), args.json)
        }
    }
}

/// Rows and notes in the order of the updates.
fn render(rows: &[Row], notes: Vec<Note>, is_json: bool) -> String {
    let table = rows::table(rows);
    let mut out = String::new();
    if !is_json && !rows.is_empty() {
        out.push_str(&table.header());
    }
    let mut notes = notes.into_iter().peekable();
    for row in rows {
        while let Some(note) = notes.next_if(|note| note.step < row.step) {
            out.push_str(&note.line(is_json));
        }
        out.push_str(&row.line(&table, is_json));
    }
    notes.for_each(|note| out.push_str(&note.line(is_json)));
    out
}
