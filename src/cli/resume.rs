//! `trainer resume`: takes up the run of a folder, with the settings that are recorded there.

use super::args::GlobalArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::run::args::{RunArgs, TakingUpArgs, Verb};
use super::run::choice::Choice;
use super::run::run;
use super::settings_args::{SettingsArgs, parse_time_s};
use clap::Args;
use std::path::PathBuf;
use trainer_runtime::signals::Signals;

/// Arguments of `trainer resume`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer resume exp                                   go on where it was
  trainer resume exp --epochs 100 --device cuda        longer, elsewhere; what differs is printed and recorded
  trainer resume exp --resume best                     back to the best epoch, in a new branch; nothing is lost
  trainer resume runs --experiment latest --keep-only final,best")]
pub struct ResumeArgs {
    /// Folder of the run, which must hold one
    #[arg(value_name = "DIR")]
    pub work_dir: PathBuf,
    /// How the run is taken up.
    #[command(flatten)]
    pub taking_up: TakingUpArgs,
    /// Passes over the training examples in all
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// Examples per update from here on
    #[arg(long, value_name = "N")]
    pub batch_size: Option<u64>,
    /// Where to compute from here on: cpu, cuda, cuda:N or auto
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Threads to compute with from here on
    #[arg(long, value_name = "N")]
    pub threads: Option<u64>,
    /// Epochs from one validation to the next
    #[arg(long, value_name = "N")]
    pub eval_every: Option<u64>,
    /// Stop after this many updates in all
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,
    /// Stop after this time, such as 90 (seconds), 30m or 1.5h; run again to go on
    #[arg(long, value_name = "TIME", value_parser = parse_time_s)]
    pub max_time: Option<f64>,
    /// One setting, such as checkpoint.every_steps=100; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Runs the command and says how the process should end.
///
/// # Errors
/// If there is no run in the folder, and whatever `trainer run` may fail of.
pub fn resume(args: &ResumeArgs, global: &GlobalArgs, signals: &Signals) -> Result<Exit, Failure> {
    let mut taking_up = args.taking_up.clone();
    taking_up.resume = match taking_up.resume {
        Choice::Auto | Choice::Must => Choice::Must,
        Choice::Never => {
            let message = "`trainer resume` goes on with a run, and --resume (or TRAINER_RESUME) is never; leave one of them out";
            return Err(Failure::new(Exit::Usage, message.to_owned()));
        }
        chosen => chosen,
    };
    let settings = SettingsArgs {
        set: args.set.clone(),
        epochs: args.epochs,
        batch_size: args.batch_size,
        device: args.device.clone(),
        threads: args.threads,
        eval_every: args.eval_every,
        max_steps: args.max_steps,
        max_time: args.max_time,
        ..SettingsArgs::default()
    };
    let args = RunArgs {
        work_dir: args.work_dir.clone(),
        fresh: false,
        taking_up,
        supervise: false,
        max_restarts: 0,
        settings,
    };
    run(&args, Verb::Resume, global, signals)
}
