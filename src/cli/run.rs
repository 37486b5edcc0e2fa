//! `trainer run`: starts the run of a work directory, or takes it up where it is.

use super::args::GlobalArgs;
use super::exit::Exit;
use super::failure::{Failure, fail};
use super::repair;
use crate::config::{self, Device, Origin, Plan};
use crate::engine::library::{Host, Request, Runtime, Threads, Want, load, locate};
use crate::report::mlflow::{self, Voice};
use crate::report::progress::{Progress, Verbosity};
use crate::report::recorded::{ReadError, Recorded};
use crate::report::run_log;
use crate::sweep::plan::{FILE_NAME as SWEEP_PLAN, PlanError, SweepPlan};
use crate::train::control::Control;
use crate::train::event::{Event, Stopped};
use crate::train::export;
use crate::train::keeper::{KeepError, Keeper, OpenedKeeper, SETTINGS};
use crate::train::observe::Observer as _;
use crate::train::outcome::RunError;
use crate::train::resume::changed_settings;
use crate::train::run::{Context, run as train};
use crate::train::sample::sampled;
use crate::train::status::{Phase, SaveTime};
use std::path::Path;
use std::time::Instant;
use trainer_runtime::atomic_file;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal;
use trainer_runtime::keeper::{JOURNAL_DIR, OpenError};
use trainer_runtime::lock::{LockError, WorkDirLock};
use trainer_runtime::signals::Signals;
use trainer_runtime::supervisor::follow_supervisor;

pub mod args;
mod attempt;
mod branch;
mod changes;
pub mod choice;
mod chosen;
mod audience;
mod confusion;
pub(super) mod experiment;
mod finish;
mod fresh;
mod interrupt;
mod keep_only;
mod name;
pub(super) mod once;
mod portions;
pub(super) mod present;
mod record;
mod said;

use args::{Change, RunArgs, Verb};
use attempt::{Attempt, Known, plan_of, start};
use audience::Audience;
use changes::Allowed;
use choice::{Choice, Experiment};
use chosen::{Chosen, Found};
use finish::{finish, print_result};
use interrupt::{answer_signals, answer_status, estimate_save, slow_save};

/// Why a run finished, in its journal and on the screen.
const ALL_EPOCHS: &str = "all epochs done";
const ALL_STEPS: &str = "all steps of `train.max_steps` done";
const STOPPED_EARLY: &str = "stopped early";

/// Runs the command and says how the process should end.
///
/// # Errors
/// Any failure, with the exit code it means.
pub fn run(args: &RunArgs, verb: Verb, global: &GlobalArgs, signals: &Signals) -> Result<Exit, Failure> {
    let verbosity = if global.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let mut progress = Progress::new(verbosity);
    let control = Control::new(Some(signals.clone()));
    let supervised = follow_supervisor();
    if let Some(supervised) = &supervised {
        signals.have_supervisor(supervised.pid);
    }
    answer_status(&control, &progress);
    let before = supervised.and_then(|supervised| supervised.before);
    let mut args = args.clone();
    check_command(&args)?;
    if matches!(args.taking_up.experiment, None | Some(Experiment::New)) {
        check_no_sweep(&args.work_dir)?;
    }
    let place = experiment::find(&args, verb)?;
    if let (Some(_), experiment::Place::Folder(folder)) = (before, &place)
        && let Some(line) = once::settle(&mut args, folder)
    {
        progress.line(&line);
    }
    check_place(&mut args, verb, &place)?;
    args.work_dir = experiment::make(place)?;
    let args = &args;
    let _lock = WorkDirLock::acquire(&args.work_dir).map_err(|error| match error {
        LockError::Held { .. } => fail(Exit::Locked)(error),
        other => fail(Exit::StorageFailed)(other),
    })?;
    clear(args, verb, &progress)?;
    if args.fresh {
        once::done(&args.work_dir)?;
    }
    if verb == Verb::Resume {
        restore_settings(&args.work_dir, &progress)?;
    }
    run_log::open(&args.work_dir);
    let plan = announced_plan(args, &progress)?;
    let run_name = name::given(args.taking_up.run_id.as_deref(), &progress)?;
    control.follow(&plan.stop);
    control.enter(Phase::Recovering);
    let mut keeper = open(&args.work_dir, &plan, &control, &progress)?;
    let has_checkpoints = !keeper.store().list().map_err(fail(Exit::StorageFailed))?.is_empty();
    chosen::check_presence(&args.taking_up.resume, &keeper.history, &args.work_dir, has_checkpoints)?;
    name::check(&keeper.history, run_name.as_deref())?;
    let allowed = Allowed::new(args, args.asked_for(verb));
    let settings = match changed_settings(&keeper.history, &plan) {
        Ok(settings) => settings,
        Err(error) if allowed.is_allowed(Change::Settings) => {
            progress.line(&format!("the recorded settings are not compared: {error}"));
            Vec::new()
        }
        Err(error) => return Err(fail(Exit::Changed)(error)),
    };
    allowed.check_settings(&settings)?;
    branch::finish_open_cut(&keeper, &progress)?;
    let voice = Voice { printer: progress.printer(), is_quiet: global.quiet };
    let chosen = choose(&keeper, &args.taking_up.resume)?;
    if let Some(chosen) = &chosen {
        check_going_back(&keeper, chosen, &plan, &settings, &allowed, &progress)?;
    }
    if chosen.is_none()
        && let Some(line) = nothing_to_do(&keeper, &plan, &settings)
    {
        keep_only::clean(&mut keeper, &args.taking_up.keep_only)?;
        control.enter(Phase::Telling);
        mlflow::catch_up(&plan.mlflow, keeper.work_dir(), voice);
        print_result(&line)?;
        return Ok(Exit::Finished);
    }
    let known = Known { settings, death: before, chosen, allowed, name: run_name };
    let Attempt { mut prepared, saved, recorded, batchings, batching_reason } =
        start(global, plan, &mut keeper, known, &control, &mut progress)?;
    once::done(&args.work_dir)?;
    run_log::note(&format!("attempt {} of run {}", keeper.history.attempts, keeper.run_id()));
    // The rest is sent when this goes, which is after the last record.
    let _told = mlflow::tell(&prepared.plan.mlflow, keeper.work_dir(), voice);
    let announced = Instant::now();
    if let Some(warning) = estimate_save(&control, &prepared, keeper.work_dir()) {
        progress.line(&warning);
    }
    answer_signals(&control, &prepared.plan.stop, prepared.engine.cancel(), &progress);
    let mut audience = Audience::new(&mut progress, &keeper, prepared.plan.report.tensorboard);
    let context = Context {
        attempt: keeper.history.attempts,
        recorded,
        batchings,
        batching_reason,
        warned_of_statistics: false,
        keeper: &mut keeper,
        control: &control,
        observer: &mut audience,
    };
    let ended = train(&mut prepared, saved, context);
    let ended = ended.map_err(|error| record_error(&mut keeper, error));
    audience.sampled(&keeper.history);
    progress.clear();
    let ending = ended?;
    if let Some(SaveTime::Measured(save_s)) = control.status().save_time()
        && save_s > prepared.plan.stop.grace_s
    {
        progress.line(&slow_save(&format!("{save_s:.0} s"), prepared.plan.stop.grace_s));
    }
    control.enter(Phase::Exporting);
    let exit = finish(&ending, &mut prepared, &mut keeper, &progress, announced)?;
    if exit == Exit::Finished {
        keep_only::clean(&mut keeper, &args.taking_up.keep_only)?;
    }
    // Of one that was stopped, a copy of the signal is no second one.
    if control.stop_requested().is_none() {
        control.enter(Phase::Telling);
    }
    Ok(exit)
}

/// The checkpoint to go back to, if one is asked for that is not the newest.
fn choose(keeper: &Keeper, choice: &Choice) -> Result<Option<Chosen>, Failure> {
    let Choice::Checkpoint(which) = choice else { return Ok(None) };
    Ok(match chosen::find(keeper, which)? {
        Found::Newest => None,
        Found::Other(chosen) => Some(chosen),
    })
}

/// Refuses to go back with other settings than those of the checkpoint without a word, and says those that are allowed;
/// `now` are the differences from the settings in force, which are said elsewhere.
fn check_going_back(
    keeper: &Keeper,
    chosen: &Chosen,
    plan: &Plan,
    now: &[config::Difference],
    allowed: &Allowed<'_>,
    progress: &Progress,
) -> Result<(), Failure> {
    let Some(then) = plan_of(&keeper.history, chosen.of_branch, chosen.name) else { return Ok(()) };
    let since = config::differences(&then, plan);
    for line in allowed.check_going_back(chosen.name, &since, now)? {
        progress.line(&format!("changed since {}: {line}", chosen.name));
    }
    Ok(())
}

/// Refuses the folder of a sweep, whose trials have folders of their own.
fn check_no_sweep(work_dir: &Path) -> Result<(), Failure> {
    let is_sweep = matches!(SweepPlan::read(work_dir), Ok(Some(_)) | Err(PlanError::Version { .. }));
    if !is_sweep || work_dir.join(JOURNAL_DIR).is_dir() {
        return Ok(());
    }
    let dir = work_dir.display();
    let message = format!(
        "{dir} is the folder of a sweep (it has {SWEEP_PLAN}); `trainer sweep --work-dir {dir}` goes on with that, and a run \
         needs another --work-dir"
    );
    Err(Failure::new(Exit::Usage, message))
}

/// Refuses flags that contradict each other.
fn check_command(args: &RunArgs) -> Result<(), Failure> {
    if args.fresh && !matches!(args.taking_up.resume, Choice::Auto | Choice::Never) {
        let message =
            "--fresh begins anew and --resume (or TRAINER_RESUME) wants to go on; leave one of them out";
        return Err(Failure::new(Exit::Usage, message.to_owned()));
    }
    Ok(())
}

/// Refuses what is wrong before anything is made: so it leaves no trace.
fn check_place(args: &mut RunArgs, verb: Verb, place: &experiment::Place) -> Result<(), Failure> {
    match place {
        experiment::Place::Folder(folder) => {
            args.work_dir.clone_from(folder);
            chosen::check_before(&args.taking_up.resume, verb, folder)?;
            let is_lost = verb == Verb::Resume && !folder.join(SETTINGS).is_file();
            if is_lost {
                return Ok(());
            }
            let loaded = load_settings(args)?;
            if args.fresh {
                fresh::check_inputs(folder, args.settings.config.as_deref(), &loaded.plan)?;
            }
            Ok(())
        }
        experiment::Place::NewIn(root) => {
            // A folder that is not there yet.
            chosen::check_before(&args.taking_up.resume, verb, &root.join("new"))?;
            load_settings_of(args, None).map(drop)
        }
    }
}

/// Writes the settings into a folder from which they are gone, as the journal has them.
fn restore_settings(work_dir: &Path, progress: &Progress) -> Result<(), Failure> {
    let path = work_dir.join(SETTINGS);
    if path.is_file() {
        return Ok(());
    }
    let recorded = match Recorded::read(work_dir) {
        Ok(recorded) => recorded,
        // Checkpoints alone do not tell their settings.
        Err(ReadError::NoRun { .. }) => return Ok(()),
        Err(error) => return Err(Failure::unread(work_dir, error)),
    };
    let Some(settings) = recorded.history.settings else { return Ok(()) };
    atomic_file::write(&*RealDisk::shared(), &path, settings.as_bytes())
        .map_err(fail(Exit::StorageFailed))?;
    progress.line(&format!("{SETTINGS} was gone; it is written again as the journal has it"));
    Ok(())
}

/// Moves aside what is to be moved aside, now or since a process died in it.
fn clear(args: &RunArgs, verb: Verb, progress: &Progress) -> Result<(), Failure> {
    if let Some(folder) = fresh::finish(&args.work_dir)? {
        let folder = folder.display();
        progress.line(&format!("what an earlier --fresh had begun to move aside is all in {folder} now"));
        chosen::check_before(&args.taking_up.resume, verb, &args.work_dir)?;
    } else if args.fresh
        && let Some(folder) = fresh::move_aside(&args.work_dir)?
    {
        progress.line(&format!("what was there is in {} now, whole; the run begins anew", folder.display()));
    }
    Ok(())
}

/// The settings, with what is to be said of them.
fn announced_plan(args: &RunArgs, progress: &Progress) -> Result<Plan, Failure> {
    let loaded = load_settings(args)?;
    // What the program itself wrote into the work directory is no news; changes of it are listed against the journal.
    let recorded = args.work_dir.join(SETTINGS);
    let is_own = |origin: &Origin| matches!(origin, Origin::File { path, .. } if *path == recorded);
    for notice in loaded.notices.iter().filter(|notice| !is_own(&notice.origin)) {
        progress.line(&format!("note: {notice}"));
    }
    Ok(loaded.plan)
}

fn open(work_dir: &Path, plan: &Plan, control: &Control, progress: &Progress) -> Result<Keeper, Failure> {
    let opened =
        Keeper::open(RealDisk::shared(), work_dir, &plan.checkpoint, control.status()).map_err(|error| {
            match error {
                KeepError::Open(OpenError::Journal(error)) if error.is_damage() => {
                    let remedy = repair::command(work_dir);
                    Failure::new(Exit::Damaged, format!("{error}; `{remedy}` does that"))
                }
                KeepError::Open(OpenError::Journal(journal::OpenError::Version { .. })) => {
                    fail(Exit::Damaged)(error)
                }
                other => fail(Exit::StorageFailed)(other),
            }
        })?;
    let OpenedKeeper { keeper, set_aside, history_error } = opened;
    if let Some(error) = history_error {
        return Err(fail(Exit::Damaged)(error));
    }
    if let Some(set_aside) = &set_aside {
        progress.line(&format!("journal: {set_aside}"));
    }
    Ok(keeper)
}

/// Notes in the journal why the process ends, so that the next one does not take it for a kill.
fn record_error(keeper: &mut Keeper, error: RunError) -> RunError {
    let what = match &error {
        RunError::Diverged { .. } | RunError::NotFinite { .. } => "training diverged",
        RunError::NotReproduced { .. } => "a step could not be reproduced",
        // Storage is what failed, so nothing is written to it.
        RunError::Keep(_) => return error,
        RunError::DiskFull { .. } => "the disk was full",
        _ => "of an error",
    };
    let step = keeper.last_durable().map_or(0, |name| name.step);
    let event = Event::Stopped(Stopped { reason: what.to_owned(), step });
    let recorded = keeper.record(sampled(step)).and_then(|()| keeper.record(event));
    if let Err(second) = recorded.and_then(|()| Ok(keeper.sync()?)) {
        log::warn!("the end could not be journaled: {second}");
    }
    error
}

pub(super) fn load_settings(args: &RunArgs) -> Result<config::Loaded, Failure> {
    let recorded = args.work_dir.join(SETTINGS);
    // What is moved aside says nothing any more.
    let recorded = Some(recorded).filter(|recorded| !args.fresh && recorded.is_file());
    load_settings_of(args, recorded.as_deref())
}

fn load_settings_of(args: &RunArgs, recorded: Option<&Path>) -> Result<config::Loaded, Failure> {
    config::load(&args.settings.sources(recorded)).map_err(fail(Exit::Usage))
}

/// What to say if the run is over, its model is there, and the settings ask for no more.
fn nothing_to_do(keeper: &Keeper, plan: &Plan, changes: &[config::Difference]) -> Option<String> {
    let finished = keeper.history.finished.as_ref()?;
    if !keeper.work_dir().join(export::FILE_NAME).is_file() {
        return None;
    }
    let lengthened = changes.iter().any(|change| change.key.starts_with("train."));
    let more_epochs = plan.train.epochs > finished.epoch && lengthened;
    let dir = keeper.work_dir().display();
    let (epochs, steps) = (counted(finished.epoch, "epoch"), counted(finished.step, "step"));
    let remedy = if finished.reason == STOPPED_EARLY {
        "`--set train.early_stopping.patience=N` with a larger N trains on"
    } else if plan.train.max_steps.is_some_and(|most| finished.step >= most) {
        "`--max-steps N` with a larger N trains on"
    } else {
        "`--epochs N` with a larger N trains on"
    };
    (!more_epochs).then(|| {
        format!(
            "nothing to do: the run in {dir} has finished ({epochs}, {steps}: {}); {remedy}",
            finished.reason
        )
    })
}

/// `1 epoch`, `2 epochs`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(super) fn load_library(global: &GlobalArgs, plan: &Plan, host: &Host) -> Result<Runtime, Failure> {
    let want = match plan.device {
        Device::Cpu => Want::Cpu,
        Device::Cuda(_) => Want::Cuda,
        Device::Auto => Want::Either,
    };
    let request = Request { explicit: global.ort_lib.clone(), offline: global.offline, want };
    let located = locate(&request).map_err(fail(Exit::Failure))?;
    log::debug!(
        "ONNX Runtime library: {} ({}); cache: {:?}",
        located.path.display(),
        located.origin,
        host.cache_folder()
    );
    load(&located, Threads { count: plan.threads, spin: plan.spin }).map_err(fail(Exit::Failure))
}
