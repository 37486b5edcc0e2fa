//! The command line of `trainer run`.

use super::choice::{Choice, Experiment};
use crate::cli::settings_args::SettingsArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use trainer_runtime::checkpoint::Link;

/// Arguments of `trainer run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer run --work-dir exp                                 the builtin network on the embedded digits
  trainer run --work-dir exp --config my.toml --epochs 50    your model and data
  trainer run --work-dir exp --set optimizer.kind=sgd --set optimizer.momentum=0.9
  trainer run --work-dir exp --resume epoch:20               back to epoch 20, in a new branch; nothing is lost
  trainer run --work-dir runs --experiment new               runs/2026-11-22_07-10-03_v1")]
pub struct RunArgs {
    /// Folder of the run: settings, journal, checkpoints and results; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub work_dir: PathBuf,
    /// Begin anew: everything in the folder is moved into its folder before-TIME first, nothing is deleted
    #[arg(long)]
    pub fresh: bool,
    /// How an earlier run is taken up.
    #[command(flatten)]
    pub taking_up: TakingUpArgs,
    /// Watch over the run from a small parent process, which starts it again when it dies: after a kill for want of
    /// memory with half the micro-batch, after a crash with pauses
    #[arg(long)]
    pub supervise: bool,
    /// Deaths in a row without progress after which the supervisor starts the run again
    #[arg(long, value_name = "N", default_value_t = 5, requires = "supervise")]
    pub max_restarts: u32,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// What `run` and `resume` have in common.
#[derive(Debug, Clone, Args)]
pub struct TakingUpArgs {
    /// The folder is one of many runs: take the latest of them, the one of this name, or make a new one, named by time and
    /// version
    #[arg(long, value_name = "latest|NAME|new")]
    pub experiment: Option<Experiment>,
    /// Where to go on: auto (the newest checkpoint, or the start), must (refuse to start anew), never (refuse to go on),
    /// or a checkpoint: best, last, final, epoch:N, step:N or its file; what came after that is kept as a branch of its own
    #[arg(
        long,
        value_name = "MODE",
        env = "TRAINER_RESUME",
        hide_env_values = true,
        default_value = "auto",
        hide_default_value = true
    )]
    pub resume: Choice,
    /// Name of the run in messages and trackers: up to 64 letters, digits, `.`, `_` and `-`
    #[arg(long, value_name = "NAME", env = "TRAINER_RUN_ID", hide_env_values = true)]
    pub run_id: Option<String>,
    /// When the run is finished, remove all its checkpoints but these, once these verify
    #[arg(long, value_name = "WHICH", value_enum, value_delimiter = ',')]
    pub keep_only: Vec<Kept>,
    /// Go on although this differs from what the run had
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    pub allow_changed: Vec<Change>,
}

/// What may differ on request when a run is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Change {
    /// The content of the data files.
    Data,
    /// The model's graph or its initial weights.
    Model,
    /// Settings that the steps already computed depend on.
    Settings,
    /// What computes: version of the program or of ONNX Runtime, device.
    Environment,
}

/// A checkpoint that is kept, by the name of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kept {
    /// The end of the run.
    Final,
    /// The best epoch.
    Best,
    /// The last that was saved.
    Last,
}

impl Kept {
    /// Its link.
    #[must_use]
    pub fn link(self) -> Link {
        match self {
            Self::Final => Link::Final,
            Self::Best => Link::Best,
            Self::Last => Link::Last,
        }
    }
}

/// Which command was given: what it asks for explicitly differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `trainer run`: the same command starts and resumes.
    Run,
    /// `trainer resume`: there is a run, and other resources are asked for on purpose.
    Resume,
}

impl RunArgs {
    /// Settings that bind a run, in which this command line asks for another value on purpose and in so many words.
    #[must_use]
    pub fn asked_for(&self, verb: Verb) -> Vec<&'static str> {
        let settings = &self.settings;
        let mut keys = Vec::new();
        if settings.batch_size.is_some() {
            keys.push("train.batch_size");
        }
        if verb == Verb::Resume {
            keys.extend(settings.device.as_ref().map(|_| "device"));
            keys.extend(settings.threads.map(|_| "threads"));
        }
        keys
    }
}
