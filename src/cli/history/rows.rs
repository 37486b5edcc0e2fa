//! Rows of epochs and of steps.

use crate::cli::table::{Align, Table};
use crate::train::event::{EpochDone, StepDone};
use crate::train::history::History;
use serde_json::{Value, json};

/// A line of the table: after which update, its cells by their columns, and the same as JSON.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) step: u64,
    cells: Vec<(String, String)>,
    json: Value,
}

/// The table that these rows make, with every column in the order of its first appearance.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.cells) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let mut table = Table::new(columns.iter().map(|name| (*name, Align::Right)));
    rows.iter().for_each(|row| table.widen(&row.cells_of(&table)));
    table
}

impl Row {
    /// The cells under the columns of a table; empty where this row has none.
    fn cells_of(&self, table: &Table) -> Vec<String> {
        let cell = |column: &str| self.cells.iter().find(|(name, _)| name == column);
        let cells =
            table.titles().map(|column| cell(column).map(|(_, text)| text.clone()).unwrap_or_default());
        cells.collect()
    }

    pub(super) fn line(&self, table: &Table, is_json: bool) -> String {
        if is_json { format!("{}\n", self.json) } else { table.line(&self.cells_of(table)) }
    }

    pub(super) fn of_epoch(done: &EpochDone) -> Self {
        let EpochDone { epoch, step, lr, train_loss, validation, is_best, seconds, attempt } = done;
        let mut cells = vec![
            ("epoch".to_owned(), epoch.to_string()),
            ("step".to_owned(), step.to_string()),
            ("train_loss".to_owned(), format!("{train_loss:.4}")),
        ];
        cells.extend(validation.iter().map(|(name, value)| (name.clone(), format!("{value:.4}"))));
        cells.push(("lr".to_owned(), format!("{lr:.2e}")));
        cells.push(("seconds".to_owned(), format!("{seconds:.2}")));
        cells.push(("attempt".to_owned(), attempt.to_string()));
        cells.push((String::new(), if *is_best { "best".to_owned() } else { String::new() }));
        let mut json = json!({
            "epoch": epoch, "step": step, "lr": lr, "train_loss": train_loss, "is_best": is_best, "seconds": seconds,
            "attempt": attempt,
        });
        for (name, value) in validation {
            if let Some(object) = json.as_object_mut() {
                object.insert(name.clone(), Value::from(*value));
            }
        }
        Self { step: *step, cells, json }
    }

    pub(super) fn of_step(done: &StepDone, attempt: u64) -> Self {
        let StepDone { step, epoch, batch, lr, gradient_norm, .. } = done;
        let loss = f32::from_bits(done.loss_bits);
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
        Self { step: *step, cells: cells.map(|(name, text)| (name.to_owned(), text)).to_vec(), json }
    }
}

pub(super) fn of_epochs(history: &History) -> Vec<Row> {
    history.epochs.values().map(Row::of_epoch).collect()
}

pub(super) fn of_steps(history: &History) -> Vec<Row> {
    history.steps.values().map(|done| Row::of_step(done, attempt_of(history, done.step))).collect()
}

/// The attempt that computed a step.
pub(super) fn attempt_of(history: &History, step: u64) -> u64 {
    history.attempt_of_step(step).unwrap_or(1)
}

const STEPS_HEADER: &str = "step,epoch,batch,loss,lr,gradient_norm,attempt\n";

pub(super) fn steps_csv(history: &History) -> String {
    let lines = history.steps.values().map(|done| step_csv(done, attempt_of(history, done.step)));
    std::iter::once(STEPS_HEADER.to_owned()).chain(lines).collect()
}

/// The line of a step in CSV.
pub(super) fn step_csv(done: &StepDone, attempt: u64) -> String {
    let StepDone { step, epoch, batch, lr, gradient_norm, .. } = done;
    let loss = f32::from_bits(done.loss_bits);
    format!("{step},{epoch},{batch},{loss},{lr},{gradient_norm},{attempt}\n")
}
