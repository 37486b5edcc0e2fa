//! The command `trainer`.

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use trainer::cli::args::{Action, Command};
use trainer::cli::config::config;
use trainer::cli::exit::Exit;

fn main() -> ExitCode {
    let command = Command::parse();
    let exit = match &command.action {
        Action::Config(args) => match config(args, &mut io::stdout(), &mut io::stderr()) {
            Ok(()) => Exit::Finished,
            Err(error) => {
                eprintln!("error: {error}");
                error.exit()
            }
        },
        Action::Run(_) | Action::Setup(_) | Action::Doctor(_) => {
            eprintln!("error: this build of the command has only `trainer config`");
            Exit::Failure
        }
    };
    exit.into()
}
