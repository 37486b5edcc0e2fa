//! `--experiment`: a folder of many runs, each in a folder of its own.

use super::args::{RunArgs, Verb};
use super::choice::Experiment;
use super::present::{has_begun, has_run, is_set_aside, utc_now};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// Most folders that a message lists.
const LISTED: usize = 12;

/// Where the run of a command line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Place {
    /// In this folder, which may not be there yet.
    Folder(PathBuf),
    /// In a new folder of this one.
    NewIn(PathBuf),
}

/// Finds out where the run is to be; nothing is made.
///
/// # Errors
/// If what is asked for does not fit to what is there.
pub(in crate::cli) fn find(args: &RunArgs, verb: Verb) -> Result<Place, Failure> {
    let root = &args.work_dir;
    let missing = |what: &str| {
        let remedy = match verb {
            Verb::Run => "`--experiment new` makes one",
            Verb::Resume => "`trainer run` with `--experiment new` makes one",
        };
        let message = format!("{} has no {what}; it has {}; {remedy}", root.display(), listed(root));
        Failure::new(Exit::Usage, message)
    };
    match &args.taking_up.experiment {
        None => {
            if has_run(root) || experiments(root).is_empty() {
                return Ok(Place::Folder(root.clone()));
            }
            Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} holds runs and is not one itself: it has {}; name one with `--experiment NAME`, take the newest with \
                     `--experiment latest`, or begin one with `--experiment new`",
                    root.display(),
                    listed(root)
                ),
            ))
        }
        Some(_) if has_run(root) => Err(Failure::new(
            Exit::Usage,
            format!(
                "{} is a run itself and no folder of many; leave out `--experiment`, or give another --work-dir",
                root.display()
            ),
        )),
        Some(Experiment::New) if verb == Verb::Resume => {
            Err(Failure::new(Exit::Usage, "`trainer resume` makes no new run; `trainer run` does".to_owned()))
        }
        Some(Experiment::New) => Ok(Place::NewIn(root.clone())),
        Some(Experiment::Latest) => {
            let mut stamped: Vec<_> =
                experiments(root).into_iter().filter_map(|name| Some((stamp(&name)?, name))).collect();
            stamped.sort();
            let mut newest_first = stamped.into_iter().rev();
            // One that failed before it began is nothing to go on with, and would hide all the others.
            let newest = newest_first.find(|(_, name)| has_begun(&root.join(name)));
            let (_, name) = newest.ok_or_else(|| missing("run that is named by time and version"))?;
            Ok(Place::Folder(root.join(name)))
        }
        Some(Experiment::Named(name)) => {
            check_name(name)?;
            let folder = root.join(name);
            if verb == Verb::Resume && !has_run(&folder) {
                return Err(missing(&format!("run `{name}`")));
            }
            Ok(Place::Folder(folder))
        }
    }
}

/// Makes the folder of a new experiment: the time in UTC, and a version so that two of one second differ.
///
/// # Errors
/// If it can not be made.
pub(in crate::cli) fn make(place: Place) -> Result<PathBuf, Failure> {
    let root = match place {
        Place::Folder(folder) => return Ok(folder),
        Place::NewIn(root) => root,
    };
    let failed = |path: &Path, error: &std::io::Error| {
        let message = format!("can not make {}: {error}; --work-dir must be writable", path.display());
        Failure::new(Exit::StorageFailed, message)
    };
    fs::create_dir_all(&root).map_err(|error| failed(&root, &error))?;
    let time = utc_now();
    let mut version = 1_u64;
    loop {
        let folder = root.join(format!("{time}_v{version}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => version += 1,
            Err(error) => return Err(failed(&folder, &error)),
        }
    }
}

/// A name is that of one folder.
fn check_name(name: &str) -> Result<(), Failure> {
    let mut parts = Path::new(name).components();
    let is_one =
        matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    if is_one && !name.starts_with('.') {
        return Ok(());
    }
    let message =
        format!("--experiment is `{name}`, expected latest, new, or the name of one folder in --work-dir");
    Err(Failure::new(Exit::Usage, message))
}

/// The time and version of a folder's name, if it is one of those that are made here.
fn stamp(name: &str) -> Option<(String, u64)> {
    let (time, version) = name.rsplit_once("_v")?;
    let shape = "0000-00-00_00-00-00";
    let fits =
        |(found, wanted): (char, char)| if wanted == '0' { found.is_ascii_digit() } else { found == wanted };
    let is_time = time.len() == shape.len() && time.chars().zip(shape.chars()).all(fits);
    if is_time { Some((time.to_owned(), version.parse().ok()?)) } else { None }
}

/// The folders in this one that hold a run, sorted.
fn experiments(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| has_run(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !is_set_aside(name))
        .collect();
    names.sort();
    names
}

fn listed(root: &Path) -> String {
    let names = experiments(root);
    if names.is_empty() {
        return "no runs at all".to_owned();
    }
    let more = names.len().saturating_sub(LISTED);
    let shown = names.iter().rev().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::{check_name, stamp};

    #[test]
    fn versions_of_one_second_are_ordered_as_numbers() {
        let at = |version: u64| stamp(&format!("2026-11-22_07-10-03_v{version}")).unwrap();
        assert!(at(9) < at(10) && at(10) < stamp("2026-11-22_07-10-04_v1").unwrap());
        for other in ["2026-11-22_07-10-03", "2026-11-22_07-10-03_vx", "first_v1", "2026-1122_07-10-03_v1"] {
            assert_eq!(stamp(other), None, "{other}");
        }
    }

    #[test]
    fn the_name_of_an_experiment_is_that_of_one_folder() {
        assert!(check_name("vgg-11").is_ok());
        for wrong in ["", ".", "..", "a/b", "/a", "../a", "a/", ".hidden"] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
