//! The command `trainer`.

use clap::Parser as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use trainer::cli;
use trainer::cli::args::{Action, Command, GlobalArgs};
use trainer::cli::exit::Exit;
use trainer::cli::failure::{Failure, fail};
use trainer::cli::run::args::Verb;
use trainer::engine::library::{Host, announce};
use trainer::report::run_log;
use trainer_runtime::signals::Signals;
use trainer_runtime::supervisor::follow_supervisor;

fn main() -> ExitCode {
    let command = Command::parse();
    let mut logger = env_logger::Builder::new();
    logger.filter_level(command.global.log_level()).filter_module("onnxruntime", log::LevelFilter::Warn);
    // What a command says of its work reads as in `trainer run`; what matters more or less is marked.
    logger.parse_default_env().format(|out, record| match record.level() {
        log::Level::Info => writeln!(out, "{}", record.args()),
        level => writeln!(out, "[{level}] {}", record.args()),
    });
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
        Action::Run(args) if args.supervise && follow_supervisor().is_none() => {
            cli::supervise::supervise(args)
        }
        // Signals before any thread is started, so that all of them leave the signals to this one.
        Action::Run(args) => cli::run::run(args, Verb::Run, global, &installed_signals()?),
        Action::Resume(args) => cli::resume::resume(args, global, &installed_signals()?),
        Action::Config(args) => match cli::config::config(args, &mut io::stdout(), &mut io::stderr()) {
            Ok(()) => Ok(Exit::Finished),
            Err(error) => Err(Failure { exit: error.exit(), error: error.into() }),
        },
        Action::Check(args) => cli::check::run(args, global, &mut io::stdout()),
        Action::Setup(args) => set_up(args.cuda, global),
        Action::Doctor(args) => examine(args.work_dir.clone(), args.json, global),
        Action::Plot(args) => cli::plot::run(args, &mut io::stdout()),
        Action::Report(args) => cli::report::run(args, &mut io::stdout()),
        Action::Repair(args) => cli::repair::run(args, &mut io::stdout()),
        Action::Verify(args) => cli::verify::run(args, global, &mut io::stdout()),
        Action::History(args) => cli::history::run(args, &mut io::stdout()),
        Action::Inspect(args) => cli::inspect::run(args, &mut io::stdout()),
        Action::Diff(args) => cli::diff::run(args, &mut io::stdout()),
        Action::Ls(args) => cli::ls::run(args, &mut io::stdout()),
        Action::Completions(args) => cli::completions::run(args, &mut io::stdout()),
        Action::Eval(args) => cli::eval::run(args, global, &mut io::stdout()),
        Action::Predict(args) => cli::predict::run(args, global, &mut io::stdout()),
        Action::Sweep(args) => cli::sweep::run(args, global, &mut io::stdout()),
        Action::Export(args) => cli::export::run(args, global, &mut io::stdout()),
    }
}

fn installed_signals() -> Result<Signals, Failure> {
    Signals::install().map_err(fail(Exit::Failure))
}

fn set_up(cuda: bool, global: &GlobalArgs) -> Result<Exit, Failure> {
    let options = cli::setup::Options { cuda, offline: global.offline, ort_lib: global.ort_lib.clone() };
    let (host, announce) = (Host::of_this_process(), announce::ToStderr::default());
    cli::setup::run(&options, &host, &announce, &mut io::stdout())
}

fn examine(work_dir: Option<PathBuf>, json: bool, global: &GlobalArgs) -> Result<Exit, Failure> {
    let work_dir = work_dir.unwrap_or_else(|| PathBuf::from("."));
    let options =
        cli::doctor::Options { work_dir, json, offline: global.offline, ort_lib: global.ort_lib.clone() };
    let report = cli::doctor::run(&options, &Host::of_this_process(), &mut io::stdout())?;
    Ok(if report.ready { Exit::Finished } else { Exit::Failure })
}
