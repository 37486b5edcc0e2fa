//! Making a run ready for its next step: state, library, graphs, and the records with which this process begins.

use super::args::Change;
use super::branch;
use super::changes::Allowed;
use super::chosen::Chosen;
use super::portions::{Before, portions};
use super::record::{Survivor, TakenUp, begin, take_up, worker_died};
use super::{Failure, counted, load_library};
use crate::cli::args::GlobalArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::fail;
use crate::config::{self, Plan, from_toml};
use crate::engine::device::choose;
use crate::engine::library::Host;
use crate::report::progress::Progress;
use crate::train::batching::{Batching, converted_batch};
use crate::train::control::Control;
use crate::train::event::{Environment, StepDone};
use crate::train::history::{ComputedWith, History};
use crate::train::keeper::Keeper;
use crate::train::prepare::{Prepared, prepare};
use crate::train::resume::{
    Changes, ResumeError, changed_inputs, decode_saved, load as load_checkpoint, newest_checkpoint,
};
use crate::train::saved::Saved;
use crate::train::status::Phase;
use std::collections::BTreeMap;
use std::path::Path;
use trainer_runtime::checkpoint::{Checkpoint, Name, Rejected};
use trainer_runtime::keeper::RecoverError;
use trainer_runtime::supervisor::Death;

/// A run that is ready to take its next step.
pub(super) struct Attempt {
    pub(super) prepared: Prepared,
    pub(super) saved: Saved,
    pub(super) recorded: BTreeMap<u64, StepDone>,
    pub(super) batchings: BTreeMap<(u64, u64), Batching>,
    pub(super) batching_reason: Option<&'static str>,
}

/// What the journal, the supervisor and the command line say of the attempts before.
pub(super) struct Known<'a> {
    /// Settings that are others now.
    pub(super) settings: Vec<config::Difference>,
    /// How the process before ended, if its supervisor saw it.
    pub(super) death: Option<Death>,
    /// A checkpoint to go on from that is not the newest.
    pub(super) chosen: Option<Chosen>,
    /// What may differ.
    pub(super) allowed: Allowed<'a>,
    /// The name that the run is to have.
    pub(super) name: Option<String>,
}

/// The checkpoint to go on from, if there is one, and those that were passed over.
struct State {
    newest: Option<(Name, Checkpoint)>,
    rejected: Vec<Rejected>,
}

fn state(keeper: &Keeper) -> Result<State, Failure> {
    let recovered = newest_checkpoint(keeper).map_err(|error| match error {
        ResumeError::Recover(RecoverError::NoneVerifies { .. }) => fail(Exit::Damaged)(error),
        ResumeError::Foreign { .. } => fail(Exit::Changed)(error),
        other => fail(Exit::StorageFailed)(other),
    })?;
    Ok(State { newest: recovered.newest, rejected: recovered.rejected })
}

pub(super) fn start(
    global: &GlobalArgs,
    plan: Plan,
    keeper: &mut Keeper,
    known: Known<'_>,
    control: &Control,
    progress: &mut Progress,
) -> Result<Attempt, Failure> {
    let Known { settings, death, chosen, allowed, name: run_name } = known;
    let State { newest, rejected } =
        if chosen.is_some() { State { newest: None, rejected: Vec::new() } } else { state(keeper)? };
    let found = match &chosen {
        Some(chosen) => Some((chosen.name, &chosen.checkpoint)),
        None => newest.as_ref().map(|(name, checkpoint)| (*name, checkpoint)),
    };
    let mut saved = Saved::start(config::fingerprint(&plan));
    if let Some((name, checkpoint)) = found {
        saved = decode_saved(name, checkpoint).map_err(fail(Exit::Changed))?;
    }
    // As it is recorded, in batches of the size that it was computed with.
    let recorded_batch = saved.batch;
    let of_branch = chosen.as_ref().map_or(keeper.history.branch(), |chosen| chosen.of_branch);
    let then =
        found.and_then(|(name, _)| keeper.history.computed_with(of_branch, &name.to_string())).cloned();
    let plan_then = then.as_ref().and_then(plan_in);
    if let Some(then) = &plan_then {
        saved.batch = converted_batch(saved.batch, usize::MAX, then, &plan);
    }
    let place = (saved.epoch, saved.batch);
    // What goes back computes as its checkpoint's branch did, whatever that of the settings in force did since; and so does
    // the process that comes after one which died in that.
    let since = match &plan_then {
        Some(then) if chosen.is_some() || keeper.history.portions_are_of_before => {
            config::differences(then, &plan)
        }
        _ => settings.clone(),
    };
    let portions = portions(&keeper.history, &since, &plan, (of_branch, place), Before::of(death))?;
    let (mut prepared, environment) = build(global, plan, portions.wanted, control, progress)?;
    let examples = prepared.train.0.len();
    if let Some(then) = &plan_then {
        saved.batch = converted_batch(recorded_batch, examples, then, &prepared.plan);
    }
    let differing =
        |then: &ComputedWith| changed_inputs(then, &prepared.data_lock, prepared.model_crc32, &environment);
    let changes = Changes {
        settings,
        accepts_other_bits: allowed.is_allowed(Change::Environment),
        ..differing(&keeper.history.in_force())
    };
    let is_finishing = keeper.history.open_cut.is_some();
    match (found, then.as_ref().map(differing)) {
        (Some((name, _)), Some(since)) if chosen.is_some() => {
            allowed.check(&name.to_string(), &since)?;
            let is_news = |line: &&String| changes.inputs().all(|now| now != *line);
            since
                .inputs()
                .filter(is_news)
                .for_each(|line| progress.line(&format!("changed since {name}: {line}")));
        }
        // Who began the cut had what the checkpoint was computed with, and died before it could record that.
        (_, Some(since)) if is_finishing && since.inputs().next().is_none() => {}
        _ => allowed.check("the run", &changes)?,
    }
    let fingerprint = config::fingerprint(&prepared.plan);
    if let Some((name, checkpoint)) = found {
        let notices = load_checkpoint(&mut prepared.engine, name, checkpoint).map_err(fail(Exit::Changed))?;
        notices.iter().for_each(|line| progress.line(line));
    }
    let is_new = keeper.history.settings.is_none();
    // The checkpoint alone tells then.
    let is_untold = is_new || (chosen.is_some() && plan_then.is_none());
    if let Some((name, _)) = found.filter(|_| is_untold && saved.plan_fingerprint != fingerprint)
        && !allowed.is_allowed(Change::Settings)
    {
        return Err(fail(Exit::Changed)(ResumeError::OtherSettings { name }));
    }
    saved.plan_fingerprint = fingerprint;
    // From here on something is changed.
    let cut = match &chosen {
        Some(chosen) => {
            let at = Saved { batch: recorded_batch, ..saved.clone() };
            branch::cut(keeper, chosen, &at, progress)?
        }
        None => None,
    };
    let name = found.map(|(name, _)| name);
    if let Some(name) = name {
        branch::bring_best(keeper, saved.best, progress)?;
        let passed_over = keeper.take_up(name, rejected, saved.best)?;
        passed_over.iter().for_each(|passed_over| progress.line(&passed_over.to_string()));
    }
    if let Some(death) = death.filter(|_| !is_new) {
        keeper.record(worker_died(death))?;
    }
    if is_new {
        let is_chosen = chosen.as_ref().is_some_and(|chosen| chosen.from.is_some());
        let survivor = found.map(|(name, checkpoint)| Survivor { name, checkpoint, is_chosen });
        begin(keeper, &prepared, environment, progress, survivor, &saved, run_name)?;
    } else {
        let taken = TakenUp { saved: &saved, recorded_batch, checkpoint: name, cut: cut.as_ref(), run_name };
        take_up(keeper, &prepared, &changes, environment, taken, progress)?;
    }
    control.set_saved_step(keeper.durable_step());
    let later = keeper.history.steps.range(saved.step + 1..);
    let recorded = later.map(|(step, done)| (*step, done.clone())).collect();
    let place = (saved.epoch, saved.batch);
    let beyond = keeper.history.batchings.iter().filter(|(at, _)| **at > place);
    let batchings = beyond.map(|(at, batching)| (*at, *batching)).collect();
    Ok(Attempt { prepared, saved, recorded, batchings, batching_reason: portions.reason })
}

/// The settings that a checkpoint of a branch was computed with; `None` where the journal does not tell.
pub(super) fn plan_of(history: &History, branch: u64, checkpoint: Name) -> Option<Plan> {
    plan_in(history.computed_with(branch, &checkpoint.to_string())?)
}

fn plan_in(then: &ComputedWith) -> Option<Plan> {
    Some(from_toml(then.settings.as_deref()?, Path::new("the settings in the journal")).ok()?.plan)
}

/// Loads the library and builds everything, and says with what.
fn build(
    global: &GlobalArgs,
    plan: Plan,
    wanted: Option<Batching>,
    control: &Control,
    progress: &Progress,
) -> Result<(Prepared, Environment), Failure> {
    control.enter(Phase::LoadingLibrary);
    let host = Host::of_this_process();
    let runtime = load_library(global, &plan, &host)?;
    let chosen = choose(plan.device, &runtime, &host).map_err(fail(Exit::Failure))?;
    let reason = chosen.reason.map_or(String::new(), |reason| format!(" ({reason})"));
    progress.info(&format!(
        "ONNX Runtime {} on {}, {}{reason}",
        runtime.version,
        chosen.place,
        counted(plan.threads as u64, "thread")
    ));
    let environment = Environment {
        program: crate::BUILD.to_owned(),
        onnxruntime: runtime.version.clone(),
        device: chosen.place.to_string(),
        threads: plan.threads as u64,
    };
    control.enter(Phase::Building);
    let prepared = prepare(plan, &runtime, chosen.place, wanted)?;
    control.enter(Phase::Recovering);
    let parameters = prepared.trainable.parameter_elements();
    let validation = prepared.validation.as_ref().map_or(0, |(loader, _)| loader.len());
    progress.info(&format!(
        "{}: {parameters} parameters in {} tensors; {} training and {validation} validation examples, {} steps per epoch",
        prepared.graph.name,
        prepared.trainable.parameters.len(),
        prepared.train.0.len(),
        prepared.batches_per_epoch()
    ));
    if let Some(recomputed) = prepared.recomputed {
        progress.info(&recomputed.to_string());
    }
    Ok((prepared, environment))
}
