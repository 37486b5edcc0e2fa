//! `trainer config`: prints the effective settings, documented.

use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::settings_args::SettingsArgs;
use crate::config::{ConfigError, load, to_json, to_toml_with_origins};
use crate::train::keeper::SETTINGS;
use clap::Args;

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

/// Why nothing was printed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigCommandError {
    /// The settings are wrong or can not be read.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The work directory has no settings.
    #[error(
        "{} has no {SETTINGS}, so no run has been started there; leave out --work-dir, or name the folder of a run",
        work_dir.display()
    )]
    NoRun {
        /// The folder.
        work_dir: PathBuf,
    },
    /// The output was not taken.
    #[error("can not write the settings to the output: {0}; check where it leads")]
    Output(#[source] io::Error),
}

impl ConfigCommandError {
    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Settings(_) | Self::NoRun { .. } => Exit::Usage,
            Self::Output(_) => Exit::StorageFailed,
        }
    }
}

/// Writes the settings to `out` as a commented settings file or as JSON, and what was given but is not used to
/// `notes`. A reader that closes `out` early, such as `head`, is no error.
///
/// # Errors
/// [`ConfigCommandError`]; nothing has been written to `out` unless it is [`ConfigCommandError::Output`].
pub fn config(
    args: &ConfigArgs,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<(), ConfigCommandError> {
    let file = args.work_dir.as_deref().map(settings_file).transpose()?;
    let loaded = load(&args.settings.sources(file.as_deref()))?;
    for notice in &loaded.notices {
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(notes, "note: {notice}");
    }
    let text = if args.json { format!("{:#}\n", to_json(&loaded)) } else { to_toml_with_origins(&loaded) };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ConfigCommandError::Output(error)),
        _ => Ok(()),
    }
}

fn settings_file(work_dir: &Path) -> Result<PathBuf, ConfigCommandError> {
    let file = work_dir.join(SETTINGS);
    match file.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ConfigCommandError::NoRun { work_dir: work_dir.to_owned() })
        }
        // Everything else is for the reader of the file to explain.
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Action, Command};
    use super::*;
    use crate::config::from_toml;

    #[track_caller]
    fn output(args: &[&str]) -> Result<(String, String), ConfigCommandError> {
        let line = ["trainer", "config"].iter().chain(args);
        let Action::Config(args) = Command::try_parse_from(line).expect("valid arguments").action else {
            panic!("not config")
        };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        config(&args, &mut out, &mut notes)?;
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ok((text(out), text(notes)))
    }

    #[test]
    fn the_printed_settings_are_a_settings_file_that_gives_the_same_plan() {
        let (text, _) = output(&["--set", "train.clip_norm=1", "--seed", "3"]).expect("valid settings");
        let again = from_toml(&text, Path::new("my.toml")).expect("what was printed");
        assert_eq!((again.plan.train.clip_norm, again.plan.seed), (Some(1.0), 3));
        assert!(text.contains("# Given by --seed\nseed = 3\n"), "{text}");
        assert!(text.contains("# Unit: epochs. Default: 30. Minimum: 1.\nepochs = 30\n"), "{text}");
    }

    #[test]
    fn json_has_the_settings_nested_and_every_key_explained() {
        let (text, _) = output(&["--json", "--lr", "0.5"]).expect("valid settings");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["settings"]["optimizer"]["lr"], 0.5);
        assert_eq!(json["settings"]["data"]["inputs"]["images"]["array"], "images");
        let keys = json["keys"].as_array().expect("keys");
        assert_eq!(keys.len(), crate::config::keys().count());
        let lr = keys.iter().find(|key| key["key"] == "optimizer.lr").expect("optimizer.lr");
        assert_eq!((&lr["source"], &lr["minimum"]), (&"--lr".into(), &"above 0".into()));
    }

    #[test]
    fn a_folder_without_a_run_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().to_str().expect("text");
        let error = output(&["--work-dir", path]).expect_err("no run");
        assert_eq!(error.exit(), Exit::Usage);
        assert_eq!(
            error.to_string(),
            format!(
                "{path} has no trainer.toml, so no run has been started there; leave out --work-dir, or name the \
                 folder of a run"
            )
        );
    }

    #[test]
    fn the_settings_of_a_run_come_before_those_of_the_command_line() {
        let folder = tempfile::tempdir().expect("folder");
        let (text, _) = output(&["--epochs", "7", "--seed", "5"]).expect("valid settings");
        std::fs::write(folder.path().join(SETTINGS), text).expect("written");
        let path = folder.path().to_str().expect("text");
        let (text, notes) = output(&["--work-dir", path, "--epochs", "9", "--set", "optimizer.kind=sgd"])
            .expect("valid settings");
        let plan = from_toml(&text, Path::new("my.toml")).expect("what was printed").plan;
        assert_eq!((plan.train.epochs, plan.seed), (9, 5));
        assert!(
            notes.contains(
                "`optimizer.betas` is not used, because `optimizer.kind` (--set optimizer.kind=sgd)"
            ),
            "{notes}"
        );
    }

    #[test]
    fn a_reader_that_stops_reading_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let Action::Config(args) = Command::try_parse_from(["trainer", "config"]).expect("arguments").action
        else {
            panic!("not config")
        };
        assert!(config(&args, &mut Closed, &mut Vec::new()).is_ok());
    }
}
