//! The words by which people say which checkpoint of a run they mean. `--checkpoint` and `--resume` have the same, and list
//! what there is in the same.

use super::branches::branches;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;
use trainer_runtime::checkpoint::{Kind, Link, Name, Store};
use trainer_runtime::keeper::CHECKPOINTS_DIR;

/// A way to say which checkpoint of a run is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The best by the measure of the run.
    Best,
    /// The last that was saved.
    Last,
    /// The end of a finished run.
    Final,
    /// That of the end of an epoch, from 1.
    Epoch(u64),
    /// That after so many steps.
    Step(u64),
    /// This file, or the one of this name in the run's folder or in its folder of checkpoints.
    File(PathBuf),
}

/// A text that says no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{found}` names no checkpoint, expected best, last, final, epoch:N from 1, step:N or the path of a checkpoint"
)]
pub struct ParseWhichError {
    /// The text.
    pub found: String,
}

impl FromStr for Which {
    type Err = ParseWhichError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseWhichError { found: text.to_owned() };
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
        Ok(match text {
            "best" => Self::Best,
            "last" => Self::Last,
            "final" => Self::Final,
            "" => return Err(wrong()),
            _ => match text.split_once(':') {
                // Epochs count from 1, and what is saved before the end of the first is of no epoch's end.
                Some(("epoch", digits)) => match number(digits)? {
                    0 => return Err(wrong()),
                    epoch => Self::Epoch(epoch),
                },
                Some(("step", digits)) => Self::Step(number(digits)?),
                _ => Self::File(PathBuf::from(text)),
            },
        })
    }
}

impl fmt::Display for Which {
    /// What [`Which::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Last => f.write_str("last"),
            Self::Final => f.write_str("final"),
            Self::Epoch(epoch) => write!(f, "epoch:{epoch}"),
            Self::Step(step) => write!(f, "step:{step}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Which {
    /// The word that means a checkpoint of this name.
    #[must_use]
    pub fn of(name: Name) -> Self {
        match name.kind {
            Kind::Epoch => Self::Epoch(name.epoch()),
            Kind::Step | Kind::Emergency(_) => Self::Step(name.step),
        }
    }

    /// The link that is meant, if one is.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        match self {
            Self::Best => Some(Link::Best),
            Self::Last => Some(Link::Last),
            Self::Final => Some(Link::Final),
            Self::Epoch(_) | Self::Step(_) | Self::File(_) => None,
        }
    }

    /// Whether a checkpoint of this name is at the place that is meant.
    #[must_use]
    pub fn fits(&self, name: Name) -> bool {
        match self {
            Self::Epoch(epoch) => name.kind == Kind::Epoch && name.epoch() == *epoch,
            Self::Step(step) => name.step == *step,
            Self::Best | Self::Last | Self::Final | Self::File(_) => false,
        }
    }

    /// The checkpoint at the place that is meant: of several after one step, that of the end of the epoch.
    #[must_use]
    pub fn among(&self, names: &[Name]) -> Option<Name> {
        let fitting = names.iter().filter(|name| self.fits(**name));
        fitting.max_by_key(|name| (name.kind == Kind::Epoch, **name)).copied()
    }
}

/// Where the file of a checkpoint is that somebody named: at this path, or at this one in the run's folder of checkpoints or
/// in the folder of the run.
#[must_use]
pub fn find_file(work_dir: &Path, path: &Path) -> Option<PathBuf> {
    let places = [path.to_owned(), work_dir.join(CHECKPOINTS_DIR).join(path), work_dir.join(path)];
    places.into_iter().find(|place| place.is_file())
}

/// Most places that a message lists; a run may keep thousands.
const LISTED: usize = 12;

/// Everything that could have been meant instead, in words that say it; empty if there is nothing.
#[must_use]
pub fn available(store: &Store) -> String {
    let links = [Which::Best, Which::Last, Which::Final].into_iter();
    let is_there = |which: &Which| which.link().is_some_and(|link| store.link_path(link).is_file());
    let mut words: Vec<String> = links.filter(is_there).map(|which| which.to_string()).collect();
    let names = |store: &Store| -> Vec<Name> {
        store.list().unwrap_or_default().into_iter().map(|entry| entry.name).collect()
    };
    let mut places: Vec<String> = names(store).into_iter().map(|name| Which::of(name).to_string()).collect();
    places.dedup();
    for branch in branches(store) {
        places.extend(names(&branch).into_iter().map(|name| branch.path(name).display().to_string()));
    }
    let more = places.len().saturating_sub(LISTED);
    words.extend(places.into_iter().take(LISTED));
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    words.join(", ")
}

/// What is said of a checkpoint that is not there, the same of every flag; `modes` are other words that the flag takes.
#[must_use]
pub fn not_there(flag: &str, which: &Which, modes: &str, work_dir: &Path, available: &str) -> String {
    let what = match which {
        Which::File(path) => format!(
            "`{flag} {}` is neither {modes}best, last, final, epoch:N or step:N, nor the file of a checkpoint",
            path.display()
        ),
        which => format!("there is no checkpoint for `{flag} {which}` in {}", work_dir.display()),
    };
    let available = if available.is_empty() { "none at all" } else { available };
    format!("{what}; there is {available}")
}

#[cfg(test)]
mod tests {
    use super::Which;
    use trainer_runtime::checkpoint::{Kind, Name};

    #[test]
    fn a_checkpoint_is_said_by_word_place_or_path() {
        let said = |text: &str| text.parse::<Which>().unwrap();
        assert_eq!([said("best"), said("last"), said("final")], [Which::Best, Which::Last, Which::Final]);
        assert_eq!([said("epoch:3"), said("step:1200")], [Which::Epoch(3), Which::Step(1200)]);
        for path in ["a/best.safetensors", "C:/x", "Best", "epochs:3"] {
            assert_eq!(said(path), Which::File(path.into()));
        }
        for text in ["epoch:", "epoch:0", "epoch:-1", "epoch:x", "step:1.5", "step:1e3", ""] {
            assert!(text.parse::<Which>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_word_is_read_as_it_is_shown() {
        for which in [Which::Best, Which::Last, Which::Final, Which::Epoch(7), Which::Step(0)] {
            assert_eq!(which.to_string().parse(), Ok(which));
        }
    }

    #[test]
    fn the_checkpoint_of_a_place_is_that_of_the_end_of_its_epoch() {
        let (end, step) = (Name::new(Kind::Epoch, 3, 60), Name::new(Kind::Step, 3, 60));
        assert_eq!(Which::Epoch(3).among(&[step, end]), Some(end));
        assert_eq!(Which::Step(60).among(&[end, step]), Some(end));
        assert_eq!((Which::Epoch(2).among(&[step, end]), Which::Epoch(3).among(&[step])), (None, None));
        assert_eq!((Which::of(end), Which::of(step)), (Which::Epoch(3), Which::Step(60)));
    }
}
