//! Which saved state is meant: by its name, its place in the run, or its file. It is verified before it is used.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;
use trainer_runtime::checkpoint::{Checkpoint, Entry, Kind, Link, LoadError, Meta, Name, Store};
use trainer_runtime::disk::{DiskError, RealDisk};
use trainer_runtime::keeper::CHECKPOINTS_DIR;

/// A way to say which checkpoint of a run is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The best; of a run without one the final, then the last, then the newest.
    BestOrLater,
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
    /// This file, or the one of this name in the run's folder of checkpoints.
    File(PathBuf),
}

/// A text that says no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected best, last, final, epoch:N, step:N or the path of a checkpoint, found {found:?}")]
pub struct ParseWhichError {
    /// The text.
    pub found: String,
}

impl FromStr for Which {
    type Err = ParseWhichError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseWhichError { found: text.to_owned() };
        let number = |digits: &str| digits.parse().map_err(|_| wrong());
        Ok(match text {
            "best" => Self::Best,
            "last" => Self::Last,
            "final" => Self::Final,
            "" => return Err(wrong()),
            _ => match text.split_once(':') {
                Some(("epoch", digits)) => Self::Epoch(number(digits)?),
                Some(("step", digits)) => Self::Step(number(digits)?),
                _ => Self::File(PathBuf::from(text)),
            },
        })
    }
}

impl fmt::Display for Which {
    /// What [`Which::from_str`] reads, or a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BestOrLater => f.write_str("of any kind"),
            Self::Best => f.write_str("best"),
            Self::Last => f.write_str("last"),
            Self::Final => f.write_str("final"),
            Self::Epoch(epoch) => write!(f, "epoch:{epoch}"),
            Self::Step(step) => write!(f, "step:{step}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A checkpoint that was found and whose every checksum is right.
#[derive(Debug)]
pub struct Chosen {
    /// Its file.
    pub path: PathBuf,
    /// What it holds.
    pub checkpoint: Checkpoint,
}

impl Chosen {
    /// What it says of itself.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        self.checkpoint.meta()
    }

    /// The name it was written under.
    #[must_use]
    pub fn name(&self) -> Name {
        self.meta().name()
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Meta { epoch, step, .. } = self.meta();
        write!(f, "{}: epoch {epoch}, step {step} (checksums ok)", self.path.display())
    }
}

/// Why no state can be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChooseError {
    /// Nothing was saved yet.
    #[error("{} has no checkpoint yet; train on with `trainer run --work-dir {}`", dir.display(), dir.display())]
    None {
        /// The work directory.
        dir: PathBuf,
    },
    /// There is no such checkpoint, or the run has dropped it meanwhile.
    #[error("there is no checkpoint {wanted} in {}; `--checkpoint` takes {available}", dir.display())]
    Missing {
        /// The work directory.
        dir: PathBuf,
        /// What was asked for.
        wanted: Which,
        /// What there is.
        available: String,
    },
    /// It does not verify.
    #[error("{error}; {}", remedy(alternatives))]
    Damaged {
        /// What is wrong.
        error: LoadError,
        /// Others that verify, as `--checkpoint` takes them.
        alternatives: Vec<String>,
    },
    /// It can not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn remedy(alternatives: &[String]) -> String {
    match alternatives {
        [] => "no other checkpoint verifies".to_owned(),
        others => format!("others that verify: `--checkpoint {}`", others.join("`, `--checkpoint ")),
    }
}

/// Most alternatives that are verified for a message.
const ALTERNATIVES: usize = 4;

/// Finds a checkpoint of the run in `work_dir` and verifies it. Nothing is changed; a run may go on meanwhile.
///
/// # Errors
/// If there is no such checkpoint, or it can not be read or does not verify: another is never taken in its place.
pub fn choose(work_dir: &Path, which: &Which) -> Result<Chosen, ChooseError> {
    let store = Store::open_read_only(RealDisk::shared(), &work_dir.join(CHECKPOINTS_DIR));
    let finder = Finder { work_dir, store, which };
    match which {
        Which::BestOrLater => finder.best_or_later(),
        Which::Best => finder.link(Link::Best)?.ok_or_else(|| finder.missing()),
        Which::Last => finder.link(Link::Last)?.ok_or_else(|| finder.missing()),
        Which::Final => finder.link(Link::Final)?.ok_or_else(|| finder.missing()),
        Which::Epoch(epoch) => finder.place(|name| is_of_epoch(name, *epoch)),
        Which::Step(step) => finder.place(|name| name.step == *step),
        Which::File(path) => finder.file(path),
    }
}

fn is_of_epoch(name: Name, epoch: u64) -> bool {
    name.kind == Kind::Epoch && name.epoch() == epoch
}

struct Finder<'a> {
    work_dir: &'a Path,
    store: Store,
    which: &'a Which,
}

impl Finder<'_> {
    fn best_or_later(&self) -> Result<Chosen, ChooseError> {
        for link in [Link::Best, Link::Final, Link::Last] {
            if let Some(chosen) = self.link(link)? {
                return Ok(chosen);
            }
        }
        for Entry { name, .. } in self.store.list()?.into_iter().rev() {
            if let Some(chosen) = self.named(name)? {
                return Ok(chosen);
            }
        }
        Err(ChooseError::None { dir: self.work_dir.to_owned() })
    }

    fn link(&self, link: Link) -> Result<Option<Chosen>, ChooseError> {
        self.found(self.store.link_path(link), self.store.load_link(link))
    }

    fn named(&self, name: Name) -> Result<Option<Chosen>, ChooseError> {
        self.found(self.store.path(name), self.store.load(name))
    }

    /// The checkpoint whose name fits; where the run has dropped it, a link may still have it.
    fn place(&self, fits: impl Fn(Name) -> bool) -> Result<Chosen, ChooseError> {
        let mut names: Vec<Name> = self.store.list()?.into_iter().map(|entry| entry.name).collect();
        // Of several after the same step, that of the epoch's end.
        names.sort_by_key(|name| name.kind != Kind::Epoch);
        for name in names.into_iter().filter(|name| fits(*name)) {
            if let Some(chosen) = self.named(name)? {
                return Ok(chosen);
            }
        }
        let links = [Link::Best, Link::Final, Link::Last].into_iter();
        let mut linked = links.filter_map(|link| self.link(link).ok().flatten());
        linked.find(|chosen| fits(chosen.name())).ok_or_else(|| self.missing())
    }

    fn file(&self, path: &Path) -> Result<Chosen, ChooseError> {
        let within = self.work_dir.join(CHECKPOINTS_DIR).join(path);
        let is_bare = path.components().count() == 1;
        let path = if is_bare && !path.exists() && within.exists() { within } else { path.to_owned() };
        let loaded = Checkpoint::load(&RealDisk, &path);
        self.found(path, loaded)?.ok_or_else(|| self.missing())
    }

    /// What loading came to; nothing where there is no such file.
    fn found(
        &self,
        path: PathBuf,
        loaded: Result<Checkpoint, LoadError>,
    ) -> Result<Option<Chosen>, ChooseError> {
        match loaded {
            Ok(checkpoint) => Ok(Some(Chosen { path, checkpoint })),
            Err(LoadError::Disk(error)) if error.is_not_found() => Ok(None),
            Err(LoadError::Disk(error)) => Err(ChooseError::Disk(error)),
            Err(error) => Err(ChooseError::Damaged { error, alternatives: self.alternatives() }),
        }
    }

    fn missing(&self) -> ChooseError {
        let links = [Link::Best, Link::Last, Link::Final].into_iter();
        let links = links.filter(|link| self.store.link_path(*link).is_file());
        let mut available: Vec<String> = links.map(|link| stem(&link.to_string())).collect();
        let listed = self.store.list().unwrap_or_default();
        available.extend(listed.iter().map(|entry| place_of(entry.name)));
        let dir = self.work_dir.to_owned();
        if available.is_empty() {
            return ChooseError::None { dir };
        }
        ChooseError::Missing { dir, wanted: self.which.clone(), available: available.join(", ") }
    }

    /// Others that verify, in the words of `--checkpoint`.
    fn alternatives(&self) -> Vec<String> {
        let mut good = Vec::new();
        for link in [Link::Best, Link::Final, Link::Last] {
            if self.store.load_link(link).is_ok() {
                good.push(stem(&link.to_string()));
            }
        }
        for Entry { name, .. } in self.store.list().unwrap_or_default().into_iter().rev() {
            if good.len() >= ALTERNATIVES {
                break;
            }
            if self.store.load(name).is_ok() {
                good.push(place_of(name));
            }
        }
        good
    }
}

fn stem(file_name: &str) -> String {
    file_name.split('.').next().unwrap_or(file_name).to_owned()
}

/// How `--checkpoint` names a checkpoint.
fn place_of(name: Name) -> String {
    match name.kind {
        Kind::Step => format!("step:{}", name.step),
        Kind::Epoch | Kind::Emergency(_) => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Name, Which, is_of_epoch};

    #[test]
    fn a_checkpoint_is_said_by_word_place_or_path() {
        let said = |text: &str| text.parse::<Which>().unwrap();
        assert_eq!([said("best"), said("last"), said("final")], [Which::Best, Which::Last, Which::Final]);
        assert_eq!([said("epoch:3"), said("step:1200")], [Which::Epoch(3), Which::Step(1200)]);
        assert_eq!(said("a/best.safetensors"), Which::File("a/best.safetensors".into()));
        for text in ["epoch:", "epoch:-1", "step:1.5", ""] {
            assert!(text.parse::<Which>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_checkpoint_of_an_epoch_is_that_of_its_end() {
        assert!(is_of_epoch(Name::new(Kind::Epoch, 3, 60), 3));
        assert!(!is_of_epoch(Name::new(Kind::Epoch, 3, 60), 2));
        assert!(
            !is_of_epoch(Name::new(Kind::Step, 3, 60), 3) && !is_of_epoch(Name::new(Kind::Step, 3, 60), 0)
        );
    }
}
