//! The command line of `trainer run`.

use crate::cli::settings_args::SettingsArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `trainer run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer run --work-dir exp                                 the builtin network on the embedded digits
  trainer run --work-dir exp --config my.toml --epochs 50    your model and data
  trainer run --work-dir exp --set optimizer.kind=sgd --set optimizer.momentum=0.9")]
pub struct RunArgs {
    /// Folder of the run: settings, journal, checkpoints and results; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub work_dir: PathBuf,
    /// Go on although this differs from what the run had
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    pub allow_changed: Vec<Change>,
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
