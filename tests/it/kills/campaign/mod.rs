//! The campaigns: thousands of kills, each followed by a run to the end and a comparison. Started by
//! `scripts/faults/run.sh`, which says what the environment variables mean.

mod errors;
mod modes;
mod random;
mod steps;
mod syscalls;

use super::calls::Point;
use super::outcome::copy_folder;
use crate::work_dir::WorkDir;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// How often a campaign says how far it is.
const TRIALS_PER_LINE: usize = 250;

/// A number from the environment.
fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable);
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// One thing that is done to a run, by a name with which it is chosen again.
struct Trial<'a> {
    name: String,
    run: Box<dyn Fn(&Record) + Send + Sync + 'a>,
}

impl<'a> Trial<'a> {
    fn new(name: String, run: impl Fn(&Record) + Send + Sync + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// What a trial did.
#[derive(Debug, Default)]
struct Record {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    points: Mutex<Vec<Point>>,
    dirs: Mutex<Vec<(PathBuf, tempfile::TempDir)>>,
}

impl Record {
    /// Counts something that the summary tells.
    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Notes where a blow fell.
    fn struck(&self, point: Point) {
        self.points.lock().unwrap().push(point);
    }

    /// Keeps the files as they are now, for the case that the trial fails. The first process starts from nothing, each
    /// later one from the copy with its number.
    fn keep(&self, dir: &WorkDir) {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&dir.path(), copy.path());
        self.dirs.lock().unwrap().push((dir.path(), copy));
    }
}

/// Makes all trials, two at a time unless `FAULTS_JOBS` says otherwise, prints what they came to, and fails if one did.
///
/// Of a trial that fails, the folders that it kept are moved to `target/faults/`.
fn run_all(campaign: &str, trials: Vec<Trial<'_>>) {
    let only = std::env::var("FAULTS_ONLY").ok();
    let chosen =
        trials.into_iter().filter(|trial| only.as_ref().is_none_or(|only| trial.name.contains(only)));
    let queue: Mutex<VecDeque<Trial<'_>>> = Mutex::new(chosen.collect());
    let total = queue.lock().unwrap().len();
    assert!(total > 0, "FAULTS_ONLY names no trial of {campaign}");
    println!("{campaign}: {total} trials");
    let since = Instant::now();
    let counts = Mutex::new(BTreeMap::<&'static str, u64>::new());
    let points = Mutex::new(BTreeSet::<Point>::new());
    let failures = Mutex::new(Vec::new());
    let work = || {
        loop {
            let (trial, left) = {
                let mut queue = queue.lock().unwrap();
                let Some(trial) = queue.pop_front() else { return };
                (trial, queue.len())
            };
            if left > 0 && left.is_multiple_of(TRIALS_PER_LINE) {
                let elapsed_s = since.elapsed().as_secs_f64();
                println!("{campaign}: {} of {total} after {elapsed_s:.0} s", total - left);
            }
            let record = Record::default();
            let outcome = catch_unwind(AssertUnwindSafe(|| (trial.run)(&record)));
            points.lock().unwrap().extend(record.points.into_inner().unwrap());
            for (what, count) in record.counts.into_inner().unwrap() {
                *counts.lock().unwrap().entry(what).or_default() += count;
            }
            if let Err(panic) = outcome {
                let kept = move_aside(campaign, &trial.name, record.dirs.into_inner().unwrap());
                println!(
                    "FAILED {campaign}: {}\n  {}\n  files: {}",
                    trial.name,
                    said(&*panic),
                    kept.display()
                );
                failures.lock().unwrap().push(trial.name);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..number("FAULTS_JOBS", 2) {
            scope.spawn(work);
        }
    });
    print_points(campaign, &points.into_inner().unwrap());
    let failures = failures.into_inner().unwrap();
    let counts: Vec<String> =
        counts.into_inner().unwrap().iter().map(|(what, count)| format!("{count} {what}")).collect();
    println!(
        "{campaign}: {total} trials, {}, {} failures, {:.0} s",
        counts.join(", "),
        failures.len(),
        since.elapsed().as_secs_f64()
    );
    assert!(failures.is_empty(), "failed: {failures:#?}");
}

/// Says at how many different points blows fell, by call.
fn print_points(campaign: &str, points: &BTreeSet<Point>) {
    let mut by_call: BTreeMap<&str, u64> = BTreeMap::new();
    for point in points {
        *by_call.entry(point.call).or_default() += 1;
    }
    let each: Vec<String> = by_call.iter().map(|(call, count)| format!("{call} {count}")).collect();
    if !points.is_empty() {
        println!("{campaign}: struck at {} different points ({})", points.len(), each.join(", "));
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

fn move_aside(campaign: &str, name: &str, dirs: Vec<(PathBuf, tempfile::TempDir)>) -> PathBuf {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/faults").join(campaign).join(name);
    _ = fs::remove_dir_all(&folder);
    for (index, (_, copy)) in dirs.iter().enumerate() {
        copy_folder(copy.path(), &folder.join(format!("process-{}", index + 2)));
    }
    folder
}
