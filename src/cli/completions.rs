//! `trainer completions`: what a shell needs to complete the command line, and the manual pages.

use super::args::Command;
use super::exit::Exit;
use super::failure::Failure;
use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Arguments of `trainer completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  trainer completions bash > ~/.local/share/bash-completion/completions/trainer
  trainer completions zsh > ~/.zfunc/_trainer
  trainer completions fish > ~/.config/fish/completions/trainer.fish
  trainer completions man --out ~/.local/share/man/man1    then `man trainer` and `man trainer-run`")]
pub struct CompletionsArgs {
    /// For which shell; or man, the manual pages
    #[arg(value_name = "WHAT", value_enum)]
    pub what: What,
    /// Folder to write to, a file per page, instead of stdout; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// A script for Bash.
    Bash,
    /// A module for Elvish.
    Elvish,
    /// A script for fish.
    Fish,
    /// A module for PowerShell.
    Powershell,
    /// A function for Zsh.
    Zsh,
    /// The manual page of the command, or with --out those of its subcommands, too.
    Man,
}

impl What {
    /// The shell; `None` for the manual.
    fn shell(self) -> Option<Shell> {
        match self {
            Self::Bash => Some(Shell::Bash),
            Self::Elvish => Some(Shell::Elvish),
            Self::Fish => Some(Shell::Fish),
            Self::Powershell => Some(Shell::PowerShell),
            Self::Zsh => Some(Shell::Zsh),
            Self::Man => None,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If the output can not be written.
pub fn run(args: &CompletionsArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut command = Command::command();
    let name = command.get_name().to_owned();
    // Of `trainer help` there is no page.
    let of_manual = command.clone().disable_help_subcommand(true);
    match (&args.out, args.what.shell()) {
        (None, None) => {
            let mut page = Vec::new();
            Man::new(of_manual).render(&mut page).map_err(unwritten(Path::new("the manual page")))?;
            super::output::print_text(&String::from_utf8_lossy(&page), out)?;
        }
        (None, Some(shell)) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, name, &mut script);
            super::output::print_text(&String::from_utf8_lossy(&script), out)?;
        }
        (Some(dir), what) => {
            fs::create_dir_all(dir).map_err(unwritten(dir))?;
            match what {
                None => clap_mangen::generate_to(of_manual, dir).map_err(unwritten(dir))?,
                Some(shell) => {
                    let written = clap_complete::generate_to(shell, &mut command, name, dir);
                    log::info!("wrote {}", written.map_err(unwritten(dir))?.display());
                }
            }
        }
    }
    Ok(Exit::Finished)
}

fn unwritten(path: &Path) -> impl Fn(io::Error) -> Failure {
    move |error| {
        let message = format!("can not write {}: {error}; choose another folder with --out", path.display());
        Failure::new(Exit::StorageFailed, message)
    }
}
