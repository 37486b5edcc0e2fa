//! The end of a run, or of this process's part of it: the trained model, the last records, and what is printed.

use super::{ALL_EPOCHS, ALL_STEPS, STOPPED_EARLY, confusion, counted};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::cli::output::print_text;
use crate::report::progress::Progress;
use crate::report::run_log;
use crate::train::event::{EpochDone, Event, Finished, Stopped};
use crate::train::export::{self, export};
use crate::train::keeper::Keeper;
use crate::train::outcome::Ending;
use crate::train::prepare::Prepared;
use std::path::Path;
use std::time::Instant;
use trainer_runtime::signals::Signal;

/// Records the end, and writes the trained model where the run is complete.
pub(super) fn finish(
    ending: &Ending,
    prepared: &mut Prepared,
    keeper: &mut Keeper,
    progress: &Progress,
    since: Instant,
) -> Result<Exit, Failure> {
    let step = keeper.last_durable().map_or(0, |name| name.step);
    let reason = match ending {
        Ending::Signal(signal) => {
            if *signal == Signal::User1 {
                // On its own it does not say that the process ended.
                keeper.record(Event::Stopped(Stopped {
                    reason: "SIGUSR1 asked it to stop".to_owned(),
                    step,
                }))?;
            }
            keeper.sync()?;
            progress.line(&format!("Saved step {step}. Run the same command again to go on."));
            return Ok(Exit::Signal(u8::try_from(signal.number()).unwrap_or(u8::MAX)));
        }
        Ending::TimeIsOver => {
            keeper.record(Event::Stopped(Stopped { reason: "its time was over".to_owned(), step }))?;
            keeper.sync()?;
            progress
                .info(&format!("the time is over: saved step {step}. Run the same command again to go on."));
            return Ok(Exit::Stopped);
        }
        Ending::Complete if prepared.plan.train.max_steps.is_some_and(|most| step >= most) => ALL_STEPS,
        Ending::Complete => ALL_EPOCHS,
        Ending::StoppedEarly => STOPPED_EARLY,
    };
    let path = keeper.work_dir().join(export::FILE_NAME);
    let state = prepared.engine.snapshot().map_err(fail(Exit::Failure))?;
    export(prepared, &state, &**keeper.disk(), &path).map_err(fail(Exit::StorageFailed))?;
    keeper.link_final()?;
    confusion::write(prepared, keeper, progress)?;
    let epoch = completed(keeper, step).map(|epoch| epoch.epoch).max().unwrap_or(0);
    keeper.record(Event::Finished(Finished { step, epoch, reason: reason.to_owned() }))?;
    keeper.sync()?;
    keeper.release_reserve()?;
    print_result(&summary(keeper, step, &path, since))?;
    Ok(Exit::Finished)
}

/// Writes the result to the log of the run and to stdout.
///
/// # Errors
/// As [`print_text`]; the run is complete all the same.
pub(super) fn print_result(text: &str) -> Result<(), Failure> {
    run_log::note(text);
    print_text(&format!("{text}\n"), &mut std::io::stdout())
}

/// The epochs that are part of the state after `step`: an earlier attempt may have got further than what was saved.
fn completed(keeper: &Keeper, step: u64) -> impl Iterator<Item = &EpochDone> {
    keeper.history.epochs.values().filter(move |epoch| epoch.step <= step)
}

/// The result, for stdout.
fn summary(keeper: &Keeper, step: u64, model: &Path, since: Instant) -> String {
    let count = completed(keeper, step).count() as u64;
    let mut text = format!("finished: {}, {}", counted(count, "epoch"), counted(step, "step"));
    if let Some(last) = completed(keeper, step).last() {
        text += &format!("; train_loss {:.4}", last.train_loss);
        for (name, value) in &last.validation {
            text += &format!(", {name} {value:.4}");
        }
    }
    if let Some(best) = completed(keeper, step).filter(|epoch| epoch.is_best).last() {
        text += &format!("; best epoch {}", best.epoch);
    }
    text + &format!("\n{:.1} s of training; model: {}", since.elapsed().as_secs_f64(), model.display())
}
