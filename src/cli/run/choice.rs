//! What `--resume` and `--experiment` may ask for.

use crate::train::infer::Which;
use std::convert::Infallible;
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

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            // What an unset variable of a script looks like.
            "" | "auto" => Self::Auto,
            "never" => Self::Never,
            "must" => Self::Must,
            _ => Self::Checkpoint(text.parse().map_err(|error| format!("{error}; or {MODES}"))?),
        })
    }
}

/// What is no checkpoint.
pub(super) const MODES: &str = "a mode (auto, must, never)";

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

    #[test]
    fn what_is_no_mode_is_a_checkpoint_in_the_words_that_all_commands_have() {
        let parsed = |text: &str| text.parse::<Choice>();
        assert_eq!(parsed(""), Ok(Choice::Auto));
        for text in ["best", "last", "final", "epoch:12", "step:7", "x.safetensors", "Best"] {
            assert_eq!(parsed(text), Ok(Choice::Checkpoint(text.parse::<Which>().unwrap())));
        }
        for wrong in ["epoch:", "epoch:0", "epoch:-1", "step:x", "step:1e3"] {
            let error = parsed(wrong).unwrap_err();
            assert!(
                error.contains("best, last, final, epoch:N") && error.contains("auto, must, never"),
                "{error}"
            );
        }
    }
}
