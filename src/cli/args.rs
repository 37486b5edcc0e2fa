//! The command line: its subcommands, and the flags that all of them have. Each subcommand declares its own.

use super::check::CheckArgs;
use super::completions::CompletionsArgs;
use super::config::ConfigArgs;
use super::diff::DiffArgs;
use super::doctor::DoctorArgs;
use super::eval::EvalArgs;
use super::export::ExportArgs;
use super::history::HistoryArgs;
use super::inspect::InspectArgs;
use super::ls::LsArgs;
use super::plot::PlotArgs;
use super::predict::PredictArgs;
use super::repair::RepairArgs;
use super::report::ReportArgs;
use super::resume::ResumeArgs;
use super::run::args::RunArgs;
use super::setup::SetupArgs;
use super::sweep::SweepArgs;
use super::verify::VerifyArgs;
use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;

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
    /// No messages but warnings and errors; results still go to stdout
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
    /// Go on with the run of a folder, with the settings that are recorded there
    Resume(ResumeArgs),
    /// Run many trials over a space of settings, each in a work directory of its own; run again, go on
    Sweep(SweepArgs),
    /// Show the epochs or steps of a run, with what interrupted it; also while it goes on
    History(HistoryArgs),
    /// Draw the curves of runs, as a picture or on the terminal; also while they go on
    Plot(PlotArgs),
    /// Write a run as one HTML page, or as an event file of TensorBoard; also while it goes on
    Report(ReportArgs),
    /// List the runs of a folder: state, epoch, best, last activity, disk used
    Ls(LsArgs),
    /// Show what a checkpoint, a journal or the folder of a run holds
    Inspect(InspectArgs),
    /// Compare two checkpoints: state, and each tensor to the bit
    Diff(DiffArgs),
    /// Verify every checksum of a work directory, or of one checkpoint; changes nothing
    Verify(VerifyArgs),
    /// Set damaged parts of a work directory aside, so that its run can go on
    Repair(RepairArgs),
    /// Measure a saved state: loss and metrics on the validation data of its run, or on other data
    Eval(EvalArgs),
    /// Write the answers of a trained model to examples: outputs, classes or probabilities
    Predict(PredictArgs),
    /// Write a trained model for other programs: an ONNX file, or the weights for PyTorch
    Export(ExportArgs),
    /// Say whether a model can be trained here, without data: operators, parameters, memory, a loss that fits
    Check(CheckArgs),
    /// Print the effective settings, each with its meaning, unit, default and minimum
    Config(ConfigArgs),
    /// Fetch the ONNX Runtime library ahead of time
    Setup(SetupArgs),
    /// Print what a run would use here: library, devices, memory, disk
    Doctor(DoctorArgs),
    /// Print what a shell needs to complete commands, or the manual pages
    Completions(CompletionsArgs),
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
}
