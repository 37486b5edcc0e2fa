//! Kills at random moments, up to eight in a row on one folder.

use super::{Record, Trial, number, run_all};
use crate::kills::outcome::check_image;
use crate::kills::{sixty_steps, undisturbed};
use crate::work_dir::Ended;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The most processes that are killed in one folder before the run may end.
const DEEPEST: u64 = 8;

/// Runs that differ in what they do between two steps.
const SETTINGS: [&[&str]; 6] = [
    &[],
    &["optimizer.kind=sgd", "optimizer.momentum=0.9", "--threads", "2"],
    &["checkpoint.durability=step"],
    &["checkpoint.durability=checkpoint", "checkpoint.every_steps=1"],
    &["--threads", "2", "checkpoint.every_steps=7", "checkpoint.every_epochs=2"],
    &["train.early_stopping.patience=1", "schedule.kind=reduce_on_plateau", "train.micro_batch=50"],
];

/// Random numbers that are the same for the same seed: splitmix64 of Steele, Lea and Flood, 2014.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Kills a run at moments that the seed gives, lets it end, and compares.
fn check(seed: u64, run_us: u64, kills: &AtomicU64, wanted: u64, record: &Record) {
    if kills.load(Ordering::Relaxed) >= wanted {
        return record.count("chains that were not needed");
    }
    let mut random = Random(seed);
    let settings = SETTINGS[random.below(SETTINGS.len() as u64) as usize];
    let dir = sixty_steps(settings);
    for process in 0..=random.below(DEEPEST) {
        // Of the processes that take the run up, every second dies before or soon after its first step.
        let is_early = process > 0 && random.below(2) == 0;
        let moment = Duration::from_micros(random.below(if is_early { run_us / 3 } else { run_us }));
        let mut command = dir.command(&[]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(moment);
        child.kill().unwrap();
        let ended = Ended::of_child(child);
        record.keep(&dir);
        if ended.killed_by.is_some() {
            kills.fetch_add(1, Ordering::Relaxed);
            record.count("kills");
            record.count(if is_early { "of them early in a recovery" } else { "of them anywhere" });
        } else {
            assert_eq!(ended.code, Some(0), "{ended:?}");
            record.count("that came too late");
        }
        check_image(&dir.path());
    }
    dir.finish(&[]);
    undisturbed(settings).check(&dir);
}

#[test]
#[ignore = "a campaign: scripts/faults/run.sh random"]
fn random() {
    let (first, wanted) = (number("FAULTS_SEED", 1), number("FAULTS_KILLS", 1000));
    let since = Instant::now();
    sixty_steps(&[]).finish(&[]);
    let run_us = u64::try_from(since.elapsed().as_micros()).unwrap();
    println!("random: seeds from {first} on, {wanted} kills within {run_us} us of the start");
    let kills = AtomicU64::new(0);
    let kills = &kills;
    // A chain has four kills and a half at most on average, and some come too late.
    let trial =
        |seed| Trial::new(format!("seed {seed}."), move |record| check(seed, run_us, kills, wanted, record));
    run_all("random", (first..first + wanted).map(trial).collect());
    if std::env::var_os("FAULTS_ONLY").is_none() {
        assert!(kills.load(Ordering::Relaxed) >= wanted, "too few kills came in time");
    }
}
