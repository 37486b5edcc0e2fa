//! Settings on the command line: the flags of every subcommand that takes settings.

use crate::config::{FlagValue, Sources, Value};
use clap::Args;
use std::path::{Path, PathBuf};

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
    /// Epochs from one validation to the next
    #[arg(long, value_name = "N")]
    pub eval_every: Option<u64>,
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
            ("--eval-every", "train.eval_every_epochs", self.eval_every.map(integer)),
            ("--grace", "stop.grace_s", self.grace.map(Value::Float)),
            ("--usr1", "stop.usr1", self.usr1.clone().map(Value::Text)),
        ];
        Sources {
            work_dir_file: work_dir_file.map(Path::to_owned),
            file: self.config.clone(),
            sets: self.set.clone(),
            flags: given(flags),
            without_data: false,
            cores: None,
        }
    }
}

/// The flags that have a value, each with the setting it stands for.
pub(super) fn given(
    flags: impl IntoIterator<Item = (&'static str, &'static str, Option<Value>)>,
) -> Vec<FlagValue> {
    let given = flags.into_iter();
    given.filter_map(|(flag, key, value)| Some(FlagValue { flag, key, value: value? })).collect()
}

/// A number, or what is none as a text for the setting to judge.
fn number_or_word(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Integer)
}

/// Reads a time: a number of seconds, or a number with `s`, `m`, `h` or `d` after it.
pub(super) fn parse_time_s(text: &str) -> Result<f64, String> {
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
    use super::parse_time_s;

    #[test]
    fn times_without_a_number_or_not_above_0_are_refused() {
        assert_eq!(parse_time_s("2d"), Ok(172_800.0));
        for text in ["", "h", "-1", "0", "nan", "inf", "1w", "1e300d1", "ü"] {
            assert!(parse_time_s(text).is_err(), "{text}");
        }
    }
}
