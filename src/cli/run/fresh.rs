//! `--fresh`: what is in a work directory is moved into a folder of it, by renames, and nothing is deleted.
//!
//! While that goes on the folder is called `before-TIME.moving`. A process that dies in it leaves that name, and the next one
//! finishes it before it does anything else: so no run is ever taken up from a part of what there was.

use super::present::{is_set_aside, utc_now};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::config::{DataPlan, DataSource, ModelSource, Plan};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf, absolute};
use trainer_runtime::disk::{Disk as _, DiskError, Operation, RealDisk};
use trainer_runtime::keeper::BALLAST_FILE;
use trainer_runtime::lock;

/// What is appended to the name of the folder until everything is in it.
const MOVING: &str = ".moving";

/// Refuses to move aside what the new run is to read.
///
/// # Errors
/// If the file of settings, a data file, the model or its weights are among what would be moved.
pub(super) fn check_inputs(work_dir: &Path, config: Option<&Path>, plan: &Plan) -> Result<(), Failure> {
    let mut inputs: Vec<&Path> = config.into_iter().collect();
    if let ModelSource::Onnx(file) = &plan.model.source {
        inputs.push(file);
    }
    inputs.extend(plan.model.weights.iter().map(|weights| weights.path.as_path()));
    inputs.extend(data_files(&plan.data));
    let Some(input) = inputs.into_iter().find(|input| would_be_moved(work_dir, input)) else { return Ok(()) };
    Err(Failure::new(
        Exit::Usage,
        format!(
            "--fresh moves everything in {} aside, and the new run is to read {} from there; move that file out of the work directory, \
             or give another --work-dir",
            work_dir.display(),
            input.display()
        ),
    ))
}

/// Files and folders of examples.
fn data_files(plan: &DataPlan) -> impl Iterator<Item = &Path> {
    let (train, validation) = match &plan.source {
        DataSource::Digits => (None, None),
        DataSource::Files { train, validation } => (train.as_ref(), validation.as_ref()),
        DataSource::Tokens(tokens) => (Some(&tokens.train), tokens.validation.as_ref()),
        DataSource::Images(images) => (Some(&images.train), images.validation.as_ref()),
    };
    let arrays = plan.inputs.values().chain(plan.targets.values());
    let own = arrays.flat_map(|array| [array.file.as_ref(), array.validation_file.as_ref()]);
    [train, validation].into_iter().chain(own).flatten().map(PathBuf::as_path)
}

/// Whether a path leads to, or through, something in the folder that does not stay.
fn would_be_moved(work_dir: &Path, input: &Path) -> bool {
    // A link in the folder leads elsewhere and is moved; one elsewhere can lead into the folder.
    let as_written = (absolute(work_dir), absolute(input));
    let followed = (fs::canonicalize(work_dir), fs::canonicalize(input));
    [as_written, followed].into_iter().any(|places| {
        let (Ok(folder), Ok(input)) = places else { return false };
        let Ok(within) = input.strip_prefix(&folder) else { return false };
        let mut parts = within.components();
        let first = parts.next();
        let is_back = parts.any(|part| part == Component::ParentDir);
        matches!(first, Some(Component::Normal(name)) if !is_back && !stays(name))
    })
}

/// Moves everything aside and says where it is; `None` if nothing was there. The caller holds the lock, which stays.
///
/// # Errors
/// If something can not be moved; what was moved is in the folder, and the next call goes on.
pub(super) fn move_aside(work_dir: &Path) -> Result<Option<PathBuf>, Failure> {
    if let Some(folder) = finish(work_dir)? {
        return Ok(Some(folder));
    }
    begin(work_dir).map_err(failed)
}

fn begin(work_dir: &Path) -> Result<Option<PathBuf>, DiskError> {
    if entries(work_dir)?.is_empty() {
        return Ok(None);
    }
    let taken = names(work_dir)?;
    let stem = format!("before-{}", utc_now());
    let is_free =
        |name: &String| !taken.iter().any(|there| there.to_string_lossy().starts_with(name.as_str()));
    let mut stems = std::iter::once(stem.clone()).chain((2_u64..).map(|count| format!("{stem}_{count}")));
    let stem = stems.find(is_free).unwrap_or(stem);
    let moving = work_dir.join(format!("{stem}{MOVING}"));
    RealDisk.create_dir_all(&moving)?;
    move_into(work_dir, &moving).map(Some)
}

/// Finishes what a process that died has begun, and says where everything is; `None` if there is nothing of that kind.
///
/// # Errors
/// As [`move_aside`].
pub(super) fn finish(work_dir: &Path) -> Result<Option<PathBuf>, Failure> {
    let begun = names(work_dir).map_err(failed)?.into_iter().find(|name| {
        let name = name.to_string_lossy();
        is_set_aside(&name) && name.ends_with(MOVING)
    });
    begun.map(|name| move_into(work_dir, &work_dir.join(name)).map_err(failed)).transpose()
}

/// Renames what is there into the folder, and then the folder.
fn move_into(work_dir: &Path, moving: &Path) -> Result<PathBuf, DiskError> {
    for name in entries(work_dir)? {
        RealDisk.rename(&work_dir.join(&name), &free_place(moving, &name))?;
    }
    // First where the names are, then where they were: no loss of power takes both.
    RealDisk.sync_dir(moving)?;
    RealDisk.sync_dir(work_dir)?;
    let name = moving.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = work_dir.join(name.trim_end_matches(MOVING));
    RealDisk.rename(moving, &folder)?;
    RealDisk.sync_dir(work_dir)?;
    Ok(folder)
}

/// Where in the folder a file goes: under its name, or with a number behind it. A supervisor writes into `trainer.log` beside
/// the process that is at work, and so perhaps into a new one since that was moved.
fn free_place(moving: &Path, name: &OsStr) -> PathBuf {
    let numbered = (2_u64..).map(|count| {
        let mut numbered = name.to_owned();
        numbered.push(format!("-{count}"));
        numbered
    });
    let mut places = std::iter::once(name.to_owned()).chain(numbered).map(|name| moving.join(name));
    places.find(|place| place.symlink_metadata().is_err()).unwrap_or_else(|| moving.join(name))
}

/// What is to be moved: neither the lock, which is held, nor room that is only set aside, nor what is no part of the run.
fn entries(work_dir: &Path) -> Result<Vec<OsString>, DiskError> {
    Ok(names(work_dir)?.into_iter().filter(|name| !stays(name)).collect())
}

fn stays(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name == lock::FILE_NAME || name == BALLAST_FILE || is_set_aside(&name)
}

/// Everything in the folder, of any kind and with any name.
fn names(work_dir: &Path) -> Result<Vec<OsString>, DiskError> {
    let listed = fs::read_dir(work_dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
    let mut names = listed.map_err(|error| DiskError::new(Operation::List, work_dir, error))?;
    names.sort();
    Ok(names)
}

/// What was moved is in the folder, and the next process goes on with it.
fn failed(error: DiskError) -> Failure {
    fail(Exit::StorageFailed)(error)
}

#[cfg(test)]
mod tests {
    use super::{entries, finish, move_aside};
    use std::fs;
    use std::path::Path;

    /// A work directory with files and a folder.
    fn work_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["journal", "checkpoints", "before-2020-01-01_00-00-00"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("file"), folder).unwrap();
        }
        for file in ["lock", "trainer.toml", "history.csv", "notes of mine.txt"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        dir
    }

    #[track_caller]
    fn check_all_moved(dir: &Path, folder: &Path) {
        assert!(entries(dir).unwrap().is_empty());
        for file in ["trainer.toml", "history.csv", "notes of mine.txt", "journal/file", "checkpoints/file"] {
            assert!(folder.join(file).is_file(), "{file}");
        }
        assert!(dir.join("lock").is_file() && dir.join("before-2020-01-01_00-00-00/file").is_file());
    }

    #[test]
    fn everything_but_the_lock_and_what_was_moved_before_is_moved() {
        let dir = work_dir();
        let folder = move_aside(dir.path()).unwrap().unwrap();
        check_all_moved(dir.path(), &folder);
        assert_eq!(move_aside(dir.path()).unwrap(), None, "nothing is left to be moved");
    }

    #[test]
    fn wherever_a_process_dies_the_next_one_finishes_it() {
        for moved in 0..=5 {
            let dir = work_dir();
            let moving = dir.path().join("before-2026-11-22_07-10-03.moving");
            fs::create_dir(&moving).unwrap();
            for name in entries(dir.path()).unwrap().into_iter().take(moved) {
                fs::rename(dir.path().join(&name), moving.join(&name)).unwrap();
            }
            let folder = finish(dir.path()).unwrap().unwrap();
            assert_eq!(folder, dir.path().join("before-2026-11-22_07-10-03"), "{moved}");
            check_all_moved(dir.path(), &folder);
            assert_eq!(finish(dir.path()).unwrap(), None);
        }
    }

    #[test]
    fn what_was_written_again_since_a_process_died_takes_no_place_of_what_was_moved() {
        let dir = work_dir();
        let moving = dir.path().join("before-2026-11-22_07-10-03.moving");
        fs::create_dir(&moving).unwrap();
        fs::write(moving.join("trainer.log"), "of the run").unwrap();
        fs::create_dir(moving.join("journal")).unwrap();
        fs::write(moving.join("journal/file"), "of the run").unwrap();
        fs::write(dir.path().join("trainer.log"), "of the supervisor").unwrap();
        let folder = finish(dir.path()).unwrap().unwrap();
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(
            (read("trainer.log"), read("trainer.log-2")),
            ("of the run".into(), "of the supervisor".into())
        );
        assert_eq!((read("journal/file"), read("journal-2/file")), ("of the run".into(), "journal".into()));
    }

    #[test]
    fn two_in_one_second_have_folders_of_their_own() {
        let dir = work_dir();
        let first = move_aside(dir.path()).unwrap().unwrap();
        fs::write(dir.path().join("trainer.toml"), "again").unwrap();
        let second = move_aside(dir.path()).unwrap().unwrap();
        assert_ne!(first, second);
        assert_eq!(fs::read_to_string(second.join("trainer.toml")).unwrap(), "again");
    }
}
