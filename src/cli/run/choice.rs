//! What `--resume` and `--experiment` may ask for.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a run is to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// At the newest checkpoint, or at the start.
    #[default]
    Auto,
    /// Nowhere: there must be no run.
    Never,
    /// At the newest checkpoint: there must be a run.
    Must,
    /// At this checkpoint.
    Checkpoint(Which),
}

/// A checkpoint that somebody chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The best epoch's.
    Best,
    /// That of the end of this epoch.
    Epoch(u64),
    /// One of this step.
    Step(u64),
    /// The one in this file.
    File(PathBuf),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Epoch(epoch) => write!(f, "epoch:{epoch}"),
            Self::Step(step) => write!(f, "step:{step}"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let parsed = text.parse::<u64>().ok().filter(|number| *number > 0);
            parsed
                .ok_or_else(|| format!("`{text}` is no number of an epoch or a step, expected 1, 2, 3, ..."))
        };
        Ok(match text {
            // What an unset variable of a script looks like.
            "" | "auto" => Self::Auto,
            "never" => Self::Never,
            "must" => Self::Must,
            "best" => Self::Checkpoint(Which::Best),
            _ => match text.split_once(':') {
                Some(("epoch", epoch)) => Self::Checkpoint(Which::Epoch(number(epoch)?)),
                Some(("step", step)) => Self::Checkpoint(Which::Step(number(step)?)),
                _ => Self::Checkpoint(Which::File(PathBuf::from(text))),
            },
        })
    }
}

/// Which run of a folder of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Experiment {
    /// The newest of those named by time and version.
    Latest,
    /// One that is made now.
    New,
    /// The one of this name.
    Named(String),
}

impl FromStr for Experiment {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "latest" => Self::Latest,
            "new" => Self::New,
            name => Self::Named(name.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Which};
    use std::path::PathBuf;

    #[test]
    fn what_is_no_mode_is_the_path_of_a_file() {
        let parsed = |text: &str| text.parse::<Choice>();
        assert_eq!(parsed(""), Ok(Choice::Auto));
        assert_eq!(parsed("epoch:12"), Ok(Choice::Checkpoint(Which::Epoch(12))));
        assert_eq!(parsed("step:7"), Ok(Choice::Checkpoint(Which::Step(7))));
        for path in ["x.safetensors", "exp/checkpoints/best.safetensors", "C:/x", "Best"] {
            assert_eq!(parsed(path), Ok(Choice::Checkpoint(Which::File(PathBuf::from(path)))));
        }
        for wrong in ["epoch:", "epoch:0", "epoch:-1", "step:x", "step:1e3"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
