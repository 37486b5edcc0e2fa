//! What the commands that use a trained model have in common: which run, which of its checkpoints, on what to compute.

use super::args::GlobalArgs;
use super::exit::Exit;
use super::failure::{Failure, fail};
use super::inspect::foreign::{is_of_others, refuse};
use super::run::load_library;
use super::settings_args::given;
use crate::config::{self, Plan, Sources, Value};
use crate::engine::device::choose as choose_place;
use crate::engine::library::{Host, Runtime};
use crate::engine::session::Place;
use crate::report::recorded::{ReadError, Recorded};
use crate::train::infer::{ChooseError, Chosen, Which, choose};
use crate::train::keeper::SETTINGS;
use crate::train::resume::changed_model;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use trainer_runtime::checkpoint::LoadError;

/// Arguments of every command that uses a trained model.
#[derive(Debug, Clone, Default, Args)]
pub struct TrainedArgs {
    /// Which checkpoint: best, last, final, epoch:N, step:N or a file; the best if there is one, else the final or last
    #[arg(long, value_name = "WHICH")]
    pub checkpoint: Option<Which>,
    /// Where to compute: cpu, cuda, cuda:N or auto; as the run did if not given
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Threads to compute with; as many as the run had if not given
    #[arg(long, value_name = "N")]
    pub threads: Option<u64>,
    /// File with settings that go before those of the run
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting that goes before that of the run, such as model.onnx=moved.onnx; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl TrainedArgs {
    /// The sources of settings above those in `work_dir_file`.
    pub(super) fn sources(&self, work_dir_file: Option<PathBuf>) -> Sources {
        let flags = [
            ("--device", "device", self.device.clone().map(Value::Text)),
            ("--threads", "threads", self.threads.map(|count| Value::Integer(count.into()))),
        ];
        let (file, sets) = (self.config.clone(), self.set.clone());
        Sources { work_dir_file, file, sets, flags: given(flags), without_data: false, cores: None }
    }
}

/// A run that was found: its settings, the checkpoint that is taken, and its journal if that can be read.
pub(super) struct Found {
    pub(super) plan: Plan,
    pub(super) chosen: Chosen,
    pub(super) recorded: Option<Recorded>,
}

/// Finds the run in `work_dir` and the checkpoint that is meant.
///
/// # Errors
/// With [`Exit::Usage`] where there is no run or no such checkpoint, with [`Exit::Damaged`] where it does not verify.
pub(super) fn find(work_dir: &Path, args: &TrainedArgs) -> Result<Found, Failure> {
    let settings = Some(work_dir.join(SETTINGS)).filter(|settings| settings.is_file());
    if settings.is_none() && args.config.is_none() {
        return Err(without_settings(work_dir));
    }
    let plan = config::load(&args.sources(settings)).map_err(fail(Exit::Usage))?.plan;
    let chosen = choose(work_dir, args.checkpoint.as_ref())?;
    log::info!("using {chosen}");
    let recorded = match Recorded::read(work_dir) {
        Ok(recorded) => Some(recorded),
        Err(ReadError::NoRun { .. }) => None,
        Err(error) => {
            log::warn!(
                "the journal can not be read, so the model is not compared with that of the run: {error}"
            );
            None
        }
    };
    if let Some(recorded) = recorded.as_ref().filter(|recorded| recorded.run_id != chosen.meta().run_id) {
        log::warn!(
            "{} is of run {}, and the journal of {}",
            chosen.path.display(),
            chosen.meta().run_id,
            recorded.run_id
        );
    }
    Ok(Found { plan, chosen, recorded })
}

/// A folder that has no settings: no run's, or that of a run that has lost them.
fn without_settings(work_dir: &Path) -> Failure {
    let lacks = Failure::not_a_run(work_dir, &format!("no {SETTINGS}"), "");
    if !Recorded::read(work_dir).is_ok_and(|recorded| recorded.history.settings.is_some()) {
        return lacks;
    }
    let dir = work_dir.display();
    let message = format!(
        "{dir} has lost its {SETTINGS}; `trainer resume {dir}` writes it again from the journal, or name a copy with `--config FILE`"
    );
    Failure::new(Exit::Usage, message)
}

impl Found {
    /// Refuses a model that is another than that of the run: its frozen weights, or its operators, would be others.
    pub(super) fn check_model(&self, crc32: u32) -> Result<(), Failure> {
        let changed =
            self.recorded.as_ref().and_then(|recorded| changed_model(recorded.history.model_crc32, crc32));
        changed.map_or(Ok(()), |changed| {
            let remedy =
                "restore the file that the run was started with, or name it with `--set model.onnx=FILE`";
            Err(Failure::new(Exit::Changed, format!("{changed} since the run: {remedy}")))
        })
    }
}

/// Loads ONNX Runtime and chooses where to compute.
pub(super) fn start(global: &GlobalArgs, plan: &Plan) -> Result<(Runtime, Place), Failure> {
    let host = Host::of_this_process();
    let runtime = load_library(global, plan, &host)?;
    let chosen = choose_place(plan.device, &runtime, &host).map_err(fail(Exit::Failure))?;
    log::debug!("ONNX Runtime {} on {}", runtime.version, chosen.place);
    Ok((runtime, chosen.place))
}

/// A checkpoint in a report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CheckpointReport {
    /// Its file.
    #[serde(serialize_with = "crate::cli::output::path")]
    pub(super) path: PathBuf,
    /// The epoch that it says, from 1.
    pub(super) epoch: u64,
    /// How many updates were applied.
    pub(super) step: u64,
    /// Why it was written.
    pub(super) cause: String,
}

impl CheckpointReport {
    pub(super) fn of(chosen: &Chosen) -> Self {
        let meta = chosen.meta();
        Self { path: chosen.path.clone(), epoch: meta.epoch, step: meta.step, cause: meta.kind.to_string() }
    }
}

impl From<ChooseError> for Failure {
    fn from(error: ChooseError) -> Self {
        // What never was a checkpoint is not called a damaged one.
        let foreign = match &error {
            ChooseError::Damaged { error: damage @ LoadError::Fault { path, .. }, .. } => {
                is_of_others(path, damage).then(|| path.clone())
            }
            _ => None,
        };
        let error = match (foreign, error) {
            (Some(path), ChooseError::Damaged { error, .. }) => return refuse(&path, error),
            (_, error) => error,
        };
        let exit = match &error {
            ChooseError::Damaged { .. } => Exit::Damaged,
            ChooseError::Disk(_) => Exit::StorageFailed,
            _ => Exit::Usage,
        };
        fail(exit)(error)
    }
}
