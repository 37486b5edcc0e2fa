//! The command `trainer`.

use clap::Parser as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use trainer::cli::args::{Action, Command, GlobalArgs};
use trainer::cli::exit::Exit;
use trainer::cli::failure::{Failure, fail};
use trainer::cli::{
    check, completions, config, diff, doctor, eval, export, history, inspect, ls, predict, repair, run,
    setup, supervise, verify,
};
use trainer::engine::library::{Host, announce};
use trainer::report::run_log;
use trainer_runtime::signals::Signals;
use trainer_runtime::supervisor::follow_supervisor;

fn main() -> ExitCode {
    let command = Command::parse();
    let mut logger = env_logger::Builder::new();
    logger.filter_level(command.global.log_level()).filter_module("onnxruntime", log::LevelFilter::Warn);
    logger.parse_default_env().format_timestamp(None).format_target(false);
    run_log::install(logger.build());
    match dispatch(&command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // To a pipe that is closed, nothing can be said, and the exit code still tells.
            let line = format!("error: {}", failure.message());
            _ = writeln!(io::stderr(), "{line}");
            run_log::note(&line);
            failure.exit.into()
        }
    }
}

fn dispatch(command: &Command) -> Result<Exit, Failure> {
    let global = &command.global;
    match &command.action {
        Action::Run(args) if args.supervise && follow_supervisor().is_none() => supervise::supervise(args),
        Action::Run(args) => {
            // Before any thread is started, so that all of them leave the signals to this one.
            let signals = Signals::install().map_err(fail(Exit::Failure))?;
            run::run(args, global, &signals)
        }
        Action::Config(args) => match config::config(args, &mut io::stdout(), &mut io::stderr()) {
            Ok(()) => Ok(Exit::Finished),
            Err(error) => Err(Failure { exit: error.exit(), error: error.into() }),
        },
        Action::Check(args) => check::run(args, global, &mut io::stdout()),
        Action::Setup(args) => set_up(args.cuda, global),
        Action::Doctor(args) => examine(args.work_dir.clone(), args.json, global),
        Action::Repair(args) => repair::run(args, &mut io::stdout()),
        Action::Verify(args) => verify::run(args, global, &mut io::stdout()),
        Action::History(args) => history::run(args, &mut io::stdout()),
        Action::Export(args) => export::run(args, global, &mut io::stdout()),
        Action::Predict(args) => predict::run(args, global, &mut io::stdout()),
        Action::Eval(args) => eval::run(args, global, &mut io::stdout()),
        Action::Inspect(args) => inspect::run(args, &mut io::stdout()),
        Action::Diff(args) => diff::run(args, &mut io::stdout()),
        Action::Ls(args) => ls::run(args, &mut io::stdout()),
        Action::Completions(args) => completions::run(args, &mut io::stdout()),
    }
}

fn set_up(cuda: bool, global: &GlobalArgs) -> Result<Exit, Failure> {
    let options = setup::Options { cuda, offline: global.offline, ort_lib: global.ort_lib.clone() };
    let done =
        setup::run(&options, &Host::of_this_process(), &announce::ToStderr::default(), &mut io::stdout());
    done.map(|()| Exit::Finished).map_err(|error| Failure { exit: Exit::Failure, error })
}

fn examine(work_dir: Option<PathBuf>, json: bool, global: &GlobalArgs) -> Result<Exit, Failure> {
    let work_dir = work_dir.unwrap_or_else(|| PathBuf::from("."));
    let options =
        doctor::Options { work_dir, json, offline: global.offline, ort_lib: global.ort_lib.clone() };
    let report = doctor::run(&options, &Host::of_this_process(), &mut io::stdout());
    let report = report.map_err(|error| Failure { exit: Exit::Failure, error })?;
    Ok(if report.ready { Exit::Finished } else { Exit::Failure })
}
