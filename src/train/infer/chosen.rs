//! Which saved state is meant: by its name, its place in the run, or its file. It is verified before it is used.

use super::which::{Which, available, find_file, not_there};
use std::fmt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use trainer_runtime::checkpoint::{Checkpoint, Entry, Link, LoadError, Meta, Name, Store};
use trainer_runtime::disk::{DiskError, RealDisk};
use trainer_runtime::keeper::CHECKPOINTS_DIR;

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
    #[error("{}", not_there("--checkpoint", wanted, "", dir, available))]
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

/// Finds a checkpoint of the run in `work_dir` and verifies it: the best if none is said; of a run without one the final, then
/// the last, then the newest. Nothing is changed; a run may go on meanwhile.
///
/// # Errors
/// If there is no such checkpoint, or it can not be read or does not verify: another is never taken in its place.
pub fn choose(work_dir: &Path, which: Option<&Which>) -> Result<Chosen, ChooseError> {
    let store = Store::open_read_only(RealDisk::shared(), &work_dir.join(CHECKPOINTS_DIR));
    let finder = Finder { work_dir, store };
    let Some(which) = which else { return finder.best_or_later() };
    let found = match (which, which.link()) {
        (_, Some(link)) => finder.link(link)?,
        (Which::File(path), None) => finder.file(path)?,
        (place, None) => finder.place(place)?,
    };
    found.ok_or_else(|| finder.missing(which))
}

struct Finder<'a> {
    work_dir: &'a Path,
    store: Store,
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

    /// The checkpoint at a place; where the run has dropped it, a link may still have it.
    fn place(&self, place: &Which) -> Result<Option<Chosen>, ChooseError> {
        let names: Vec<Name> = self.store.list()?.into_iter().map(|entry| entry.name).collect();
        if let Some(name) = place.among(&names)
            && let Some(chosen) = self.named(name)?
        {
            return Ok(Some(chosen));
        }
        let links = [Link::Best, Link::Final, Link::Last].into_iter();
        let mut linked = links.filter_map(|link| self.link(link).ok().flatten());
        Ok(linked.find(|chosen| place.fits(chosen.name())))
    }

    fn file(&self, path: &Path) -> Result<Option<Chosen>, ChooseError> {
        let Some(path) = find_file(self.work_dir, path) else { return Ok(None) };
        let loaded = Checkpoint::load(&RealDisk, &path);
        self.found(path, loaded)
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

    fn missing(&self, wanted: &Which) -> ChooseError {
        let (dir, available) = (self.work_dir.to_owned(), available(&self.store));
        if available.is_empty() && !matches!(wanted, Which::File(_)) {
            return ChooseError::None { dir };
        }
        ChooseError::Missing { dir, wanted: wanted.clone(), available }
    }

    /// Others that verify, in the words of `--checkpoint`.
    fn alternatives(&self) -> Vec<String> {
        let mut good = Vec::new();
        for which in [Which::Best, Which::Final, Which::Last] {
            if which.link().is_some_and(|link| self.store.load_link(link).is_ok()) {
                good.push(which.to_string());
            }
        }
        for Entry { name, .. } in self.store.list().unwrap_or_default().into_iter().rev() {
            if good.len() >= ALTERNATIVES {
                break;
            }
            if self.store.load(name).is_ok() {
                good.push(Which::of(name).to_string());
            }
        }
        good
    }
}
