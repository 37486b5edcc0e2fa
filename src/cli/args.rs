//! The command line: every subcommand and flag, with its help.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::config::{FlagValue, Sources, Value};

/// Trains neural networks on stock ONNX Runtime and never loses a step.
#[derive(Debug, Clone, Parser)]
#[command(name = "trainer", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Example:
  trainer run --work-dir exp     starts a run; the same command again resumes it

Exit codes:
  0      finished, or nothing to do
  1      failure
  2      wrong usage or settings
  3      work directory held by another process
  4      settings, data or results differ from those of the run
  5      no checkpoint or journal that verifies
  6      training diverged
  7      out of memory, even one example at a time
  74     storage failed
  75     stopped on its own; run again to go on
  128+N  stopped by signal N, with the state saved")]
pub struct Command {
    /// Flags of every subcommand.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// Flags of every subcommand.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// The ONNX Runtime library to load, instead of searching for one
    #[arg(long, value_name = "FILE", global = true, help_heading = "Global options")]
    pub ort_lib: Option<PathBuf>,
    /// Never use the network
    #[arg(long, global = true, help_heading = "Global options")]
    pub offline: bool,
    /// Say more; twice for everything
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = "Global options")]
    pub verbose: u8,
    /// Say nothing but warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
}

impl GlobalArgs {
    /// The least important messages that are shown.
    pub fn log_level(&self) -> log::LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => log::LevelFilter::Warn,
            (false, 0) => log::LevelFilter::Info,
            (false, 1) => log::LevelFilter::Debug,
            (false, _) => log::LevelFilter::Trace,
        }
    }
}

/// The subcommands.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Train a model: start the run of a work directory, or resume it
    Run(RunArgs),
    /// Say whether a model can be trained here, without data: operators, parameters, memory, a loss that fits
    Check(CheckArgs),
    /// Print the effective settings, each with its meaning, unit, default and minimum
    Config(ConfigArgs),
    /// Fetch the ONNX Runtime library ahead of time
    Setup(SetupArgs),
    /// Print what a run would use here: library, devices, memory, disk
    Doctor(DoctorArgs),
    /// Set damaged parts of a work directory aside, so that its run can go on
    Repair(RepairArgs),
    /// Verify every checksum of a work directory, or of one checkpoint; changes nothing
    Verify(VerifyArgs),
    /// Show the epochs or steps of a run, with what interrupted it; also while it goes on
    History(HistoryArgs),
}

/// Arguments of `trainer verify`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer verify exp                                    exit code 5 if anything is damaged
  trainer verify exp/checkpoints/best.safetensors")]
pub struct VerifyArgs {
    /// Folder of a run, or the file of a checkpoint
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

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

/// Arguments of `trainer check`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Ends with 0 if the model can be trained here, and otherwise as `trainer run` would: with 2 for the model or the settings,
with 1 if ONNX Runtime can not be loaded. The report goes to stdout, what is wrong to stderr, too.

Examples:
  trainer check model.onnx                                   everything about it, and settings to begin with
  trainer check model.onnx --set model.dimensions.seq=128    with a size for a free dimension
  trainer check --config my.toml --json                      the model and loss of settings, for a program")]
pub struct CheckArgs {
    /// The ONNX file; that of the settings if it is not given
    #[arg(value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// Folder of a run whose settings are taken first
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Arguments of `trainer config`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer config > my.toml                  all settings with their defaults, to be edited
  trainer config --work-dir exp             the settings of a run
  trainer config --config my.toml --json    the effective settings, for a program")]
pub struct ConfigArgs {
    /// Folder of a run whose settings are taken first
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Arguments of `trainer setup`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer setup             fetches the library for the CPU into the cache folder
  trainer setup --cuda      fetches the one for NVIDIA GPUs, with the CUDA libraries it needs
  trainer setup --offline   only says which library a run would use, and fails if there is none")]
pub struct SetupArgs {
    /// Fetch what computing on an NVIDIA GPU needs
    #[arg(long)]
    pub cuda: bool,
}

/// Arguments of `trainer doctor`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer doctor                   what a run would use here
  trainer doctor --work-dir exp    the same, and how fast the disk of that folder is")]
pub struct DoctorArgs {
    /// Folder whose disk is measured; the current folder if it is not given
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `trainer repair`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Nothing is deleted: damaged files get new names beside the old ones.

Examples:
  trainer repair exp --dry-run    what is damaged, and what would be done about it
  trainer repair exp              does it; then `trainer run --work-dir exp` goes on")]
pub struct RepairArgs {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    pub work_dir: PathBuf,
    /// Only say what would be done; ends with 5 if something is damaged
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Settings on the command line. A later kind wins: `--config`, then `--set`, then the flags of their own.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings (`trainer config` lists and explains all)")]
pub struct SettingsArgs {
    /// File with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, such as optimizer.lr=0.01; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Passes over the training examples
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// Examples per update
    #[arg(long, value_name = "N")]
    pub batch_size: Option<u64>,
    /// Examples per gradient computation, less needs less memory; or auto, the most that fit
    #[arg(long, value_name = "N")]
    pub micro_batch: Option<String>,
    /// Learning rate before the schedule
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// Where to compute: cpu, cuda, cuda:N or auto
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Threads to compute with
    #[arg(long, value_name = "N")]
    pub threads: Option<u64>,
    /// Seed of every random number
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Stop after this many updates in all
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,
    /// Stop after this time, such as 90 (seconds), 30m or 1.5h; run again to go on
    #[arg(long, value_name = "TIME", value_parser = parse_time_s)]
    pub max_time: Option<f64>,
    /// Leave this time after a stop signal, saved or not; 25 s if not given
    #[arg(long, value_name = "TIME", value_parser = parse_time_s)]
    pub grace: Option<f64>,
    /// What SIGUSR1 does: save (and go on) or stop (save and stop)
    #[arg(long, value_name = "ACTION")]
    pub usr1: Option<String>,
}

impl SettingsArgs {
    /// The sources of settings, above those of the work directory in `work_dir_file`.
    pub fn sources(&self, work_dir_file: Option<&Path>) -> Sources {
        let integer = |value: u64| Value::Integer(value.into());
        let flags = [
            ("--epochs", "train.epochs", self.epochs.map(integer)),
            ("--batch-size", "train.batch_size", self.batch_size.map(integer)),
            ("--micro-batch", "train.micro_batch", self.micro_batch.as_deref().map(number_or_word)),
            ("--lr", "optimizer.lr", self.lr.map(Value::Float)),
            ("--device", "device", self.device.clone().map(Value::Text)),
            ("--threads", "threads", self.threads.map(integer)),
            ("--seed", "seed", self.seed.map(integer)),
            ("--max-steps", "train.max_steps", self.max_steps.map(integer)),
            ("--max-time", "train.max_time_s", self.max_time.map(Value::Float)),
            ("--grace", "stop.grace_s", self.grace.map(Value::Float)),
            ("--usr1", "stop.usr1", self.usr1.clone().map(Value::Text)),
        ];
        Sources {
            work_dir_file: work_dir_file.map(Path::to_owned),
            file: self.config.clone(),
            sets: self.set.clone(),
            flags: flags
                .into_iter()
                .filter_map(|(flag, key, value)| Some(FlagValue { flag, key, value: value? }))
                .collect(),
            without_data: false,
            cores: None,
        }
    }
}

/// A number, or what is none as a text for the setting to judge.
fn number_or_word(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Integer)
}

/// Reads a time: a number of seconds, or a number with `s`, `m`, `h` or `d` after it.
fn parse_time_s(text: &str) -> Result<f64, String> {
    let (number, unit_s) = match text.char_indices().next_back() {
        Some((end, 's')) => (text.get(..end), 1.0),
        Some((end, 'm')) => (text.get(..end), 60.0),
        Some((end, 'h')) => (text.get(..end), 3600.0),
        Some((end, 'd')) => (text.get(..end), 86400.0),
        _ => (Some(text), 1.0),
    };
    number
        .and_then(|number| number.parse::<f64>().ok())
        .map(|number| number * unit_s)
        .filter(|time_s| time_s.is_finite() && *time_s > 0.0)
        .ok_or_else(|| "expected a time above 0: seconds such as 90, or 30m, 1.5h, 2d".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::config::{Device, MicroBatch, Origin, StopPlan, Usr1, load};

    #[track_caller]
    fn parsed(line: &str) -> Command {
        Command::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_declaration_of_the_command_line_is_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn every_flag_for_a_setting_reaches_the_plan_with_its_name() {
        let line = "trainer run --work-dir exp --epochs 3 --batch-size 8 --micro-batch 4 --lr 0.5 --device cuda \
                    --threads 5 --seed 18446744073709551615 --max-steps 9 --max-time 1.5h --grace 90 --usr1 stop";
        let Action::Run(run) = parsed(line).action else { panic!("not run") };
        let loaded = load(&run.settings.sources(None)).expect("valid settings");
        let plan = &loaded.plan;
        assert_eq!((plan.train.epochs, plan.train.batch_size), (3, 8));
        assert_eq!(plan.train.micro_batch, MicroBatch::Examples(4));
        assert_eq!(plan.stop, StopPlan { grace_s: 90.0, usr1: Usr1::Stop });
        assert_eq!((plan.optimizer.lr, plan.device, plan.threads), (0.5, Device::Cuda(0), 5));
        assert_eq!((plan.seed, plan.train.max_steps), (u64::MAX, Some(9)));
        assert_eq!(plan.train.max_time_s, Some(5400.0));
        assert_eq!(loaded.origin("optimizer.lr"), Origin::Flag("--lr"));
    }

    #[test]
    fn global_flags_are_taken_after_the_subcommand() {
        let command = parsed("trainer setup --cuda --offline --ort-lib lib.so -vv");
        assert!(command.global.offline && command.global.ort_lib.is_some());
        assert_eq!(command.global.log_level(), log::LevelFilter::Trace);
        assert!(Command::try_parse_from(["trainer", "doctor", "-v", "-q"]).is_err());
    }

    #[test]
    fn run_without_a_work_directory_is_refused() {
        let error = Command::try_parse_from(["trainer", "run"]).expect_err("no work directory");
        assert!(error.to_string().contains("--work-dir <DIR>"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_negative_learning_rate_is_refused_by_its_setting_and_not_as_a_flag() {
        let Action::Run(run) = parsed("trainer run --work-dir exp --lr -1").action else { panic!("not run") };
        let error = load(&run.settings.sources(None)).expect_err("negative rate").to_string();
        assert_eq!(
            error,
            "--lr: `optimizer.lr` is -1.0 (a float), expected a finite number above 0; write, for example, \
             --lr 0.001"
        );
    }

    #[test]
    fn times_without_a_number_or_not_above_0_are_refused() {
        assert_eq!(parse_time_s("2d"), Ok(172_800.0));
        for text in ["", "h", "-1", "0", "nan", "inf", "1w", "1e300d1", "ü"] {
            assert!(parse_time_s(text).is_err(), "{text}");
        }
    }
}
