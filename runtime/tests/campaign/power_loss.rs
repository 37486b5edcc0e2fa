//! The power fails after every operation of a run, and again after every operation of the recovery.

use std::collections::HashSet;

use trainer_runtime::disk::simulated::{PowerLoss, SimulatedDisk};
use trainer_runtime::journal::Durability;

use crate::check::{Undisturbed, fingerprint};
use crate::ledger::Promised;
use crate::program::{INTERVAL, OnError, Plan, Saving, records, used_disk};
use crate::{Scale, scale};

/// Damage states after each operation.
const STATES: u64 = 64;

/// Damage states after each operation of a recovery.
const STATES_IN_RECOVERY: u64 = 4;

/// How many crashes follow one another.
const CHAIN: u64 = 8;

/// What was done, for whoever reads the output of the campaign.
#[derive(Default)]
struct Counts {
    crash_points: u64,
    states: u64,
    distinct: u64,
    recoveries: u64,
    states_in_recovery: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} crash points, {} damage states, {} of them distinct; {} recoveries crashed, {} damage states in them",
            self.crash_points, self.states, self.distinct, self.recoveries, self.states_in_recovery
        )
    }
}

/// The indices of the damage states that are tried after an operation: all, or every so manieth, others each time.
fn indices(after_operation: usize, all: u64) -> impl Iterator<Item = u64> {
    let every = match scale() {
        Scale::Full => 1,
        Scale::Sample => 16,
    };
    (0..all).filter(move |index| (index * 5 + after_operation as u64).is_multiple_of(every))
}

#[track_caller]
fn check_power_loss(durability: Durability, saving: Saving) {
    let plan = Plan { durability, saving, on_error: OnError::End, seed: 1 };
    let run = Undisturbed::new(plan, used_disk(&plan));
    let mut counts = Counts::default();
    let mut seen = HashSet::new();
    let mut sampled: Vec<(Promised, SimulatedDisk, String)> = Vec::new();
    for point in run.disk.crash_points() {
        counts.crash_points += 1;
        let after = point.after_operation();
        let promised = run.ledger.promised(after);
        for index in indices(after, STATES) {
            let loss = PowerLoss::nth(index, after as u64);
            let image = point.image(&loss);
            counts.states += 1;
            // What was checked with this and a greater promise needs no second look.
            if !seen.insert((fingerprint(&image), promised)) {
                continue;
            }
            counts.distinct += 1;
            let place =
                format!("{plan:?}: after {after} operations ({}), {loss:?}", operation(&run.disk, after));
            sampled.push((promised, image.fork(), place.clone()));
            if let Err(fault) = run.check(&image, promised, &run.records) {
                panic!("{place}: {fault}");
            }
        }
    }
    let recoveries = match scale() {
        Scale::Full => 500,
        Scale::Sample => 6,
    };
    let step = (sampled.len() / recoveries).max(1);
    for (promised, image, place) in sampled.iter().step_by(step).take(recoveries) {
        counts.recoveries += 1;
        counts.states_in_recovery += check_recovery(&run, *promised, image, place);
    }
    println!("power loss, {durability:?}, saving {saving:?}: {counts}");
}

/// Takes the run up on a found disk, with the power failing after every operation of that. Says how often it failed.
#[track_caller]
fn check_recovery(run: &Undisturbed, promised: Promised, found: &SimulatedDisk, place: &str) -> u64 {
    let disk = found.fork();
    let ledger = run.check(&disk, promised, &run.records).unwrap_or_else(|fault| panic!("{place}: {fault}"));
    let appended = records(&disk);
    let mut states = 0;
    for point in disk.crash_points().take_while(|point| point.after_operation() <= ledger.recovered_at) {
        let after = point.after_operation();
        // What was durable before the recovery stays so.
        let promised = promised.and(ledger.promised(after));
        for index in 0..STATES_IN_RECOVERY {
            // The first is always that only the process died.
            let loss = PowerLoss::nth(if index == 0 { 0 } else { index * 17 + after as u64 }, after as u64);
            states += 1;
            if let Err(fault) = run.check(&point.image(&loss), promised, &appended) {
                let operation = operation(&disk, after);
                panic!(
                    "{place}, then after {after} operations of the recovery ({operation}), {loss:?}: {fault}"
                );
            }
        }
    }
    states
}

/// One crash behind the other, each while the process before took the run up or went on with it.
#[track_caller]
fn check_chain(run: &Undisturbed, chain: u64) {
    let mut place = format!("{:?}, chain {chain}:", run.plan);
    let (mut disk, mut ledger) = (run.disk.clone(), run.ledger.clone());
    let mut promised = Promised::default();
    for depth in 0..CHAIN {
        let choice = fold(chain << 8 | depth);
        // Half of them in the recovery, where one goes wrong without being noticed until the next.
        let until = if choice & 1 == 0 { ledger.recovered_at } else { disk.operations() };
        let after = (choice >> 8) as usize % (until + 1);
        let loss = PowerLoss::nth(choice >> 32 & 63, choice);
        place += &format!(" after {after} ({}), {loss:?};", operation(&disk, after));
        promised = promised.and(ledger.promised(after));
        let appended = records(&disk);
        let image = disk.crash_point(after).image(&loss);
        ledger = run.check(&image, promised, &appended).unwrap_or_else(|fault| panic!("{place} {fault}"));
        disk = image;
    }
}

/// A number that looks like chance and is the same each time.
fn fold(number: u64) -> u64 {
    let bits = (number ^ 0x5851_f42d_4c95_7f2d).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    bits ^ (bits >> 29)
}

fn operation(disk: &SimulatedDisk, after: usize) -> String {
    let last = after.checked_sub(1).and_then(|last| disk.history().get(last).map(ToString::to_string));
    last.unwrap_or_else(|| "none".to_owned())
}

#[test]
fn nothing_promised_is_lost_with_the_power_when_every_step_is_durable() {
    check_power_loss(Durability::Step, Saving::Now);
}

#[test]
fn nor_when_checkpoints_are_written_in_the_background() {
    check_power_loss(Durability::Step, Saving::Background);
}

#[test]
fn nor_when_steps_become_durable_in_intervals() {
    check_power_loss(INTERVAL, Saving::Now);
}

#[test]
fn nor_when_both_happen_in_the_background() {
    check_power_loss(INTERVAL, Saving::Background);
}

#[test]
fn nor_when_only_checkpoints_make_steps_durable() {
    check_power_loss(Durability::Checkpoint, Saving::Now);
}

#[test]
fn nor_when_those_are_written_in_the_background() {
    check_power_loss(Durability::Checkpoint, Saving::Background);
}

#[test]
fn eight_power_losses_in_a_row_are_like_one() {
    let chains = match scale() {
        Scale::Full => 2000,
        Scale::Sample => 16,
    };
    for durability in [Durability::Step, INTERVAL, Durability::Checkpoint] {
        for saving in [Saving::Now, Saving::Background] {
            let plan = Plan { durability, saving, on_error: OnError::End, seed: 1 };
            let run = Undisturbed::new(plan, used_disk(&plan));
            (0..chains).for_each(|chain| check_chain(&run, chain));
        }
    }
    println!("power loss: {} chains of {CHAIN} crashes each", chains * 6);
}
