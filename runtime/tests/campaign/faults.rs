//! Every operation fails in every way, once and from then on: during a run, and during a recovery.

use std::path::Path;

use trainer_runtime::disk::Operation;
use trainer_runtime::disk::simulated::{Fault, Lasting, Outcome, PowerLoss, SimulatedDisk, SyncMode};
use trainer_runtime::journal::Durability;

use crate::check::Undisturbed;
use crate::ledger::Promised;
use crate::program::{Failure, INTERVAL, OnError, Plan, Saving, records, run, used_disk};
use crate::{Scale, scale};

/// How a disk is found before an operation fails on it.
struct Found<'a> {
    run: &'a Undisturbed,
    disk: SimulatedDisk,
    /// What was promised on it.
    promised: Promised,
}

/// What fails.
#[derive(Debug, Clone, Copy)]
struct Case {
    nth: usize,
    fault: Fault,
    lasting: Lasting,
    sync_mode: SyncMode,
    on_error: OnError,
}

impl Found<'_> {
    /// Lets an operation fail, then holds what is left against what was promised: after a restart, after a power loss, and
    /// after a power loss behind the restart.
    fn check(&self, case: Case) -> Result<(), String> {
        let disk = self.disk.fork();
        disk.set_sync_mode(case.sync_mode);
        disk.fail_nth(case.nth, case.fault, case.lasting);
        let (ledger, ended) = run(&disk, &Plan { on_error: case.on_error, ..self.run.plan });
        disk.heal();
        self.run.check_loaded(&ledger)?;
        match &ended {
            Ok(()) => self.run.check_outcome(&disk)?,
            Err(failure) => check_names_file(&disk, failure)?,
        }
        let failed_at = disk.operations();
        let promised = self.promised.and(ledger.promised(failed_at));
        let appended = records(&disk);
        for index in [1, 3, 11] {
            let loss = PowerLoss::nth(index, case.nth as u64);
            let image = disk.crash_point(failed_at).image(&loss);
            self.run
                .check(&image, promised, &appended)
                .map_err(|fault| format!("after {loss:?}: {fault}"))?;
        }
        let ledger = self
            .run
            .check(&disk, promised, &appended)
            .map_err(|fault| format!("after a restart: {fault}"))?;
        let appended = records(&disk);
        for after in [ledger.recovered_at, (ledger.recovered_at + disk.operations()) / 2] {
            let promised = promised.and(ledger.promised(after));
            let loss = PowerLoss::nth(1, case.nth as u64);
            let image = disk.crash_point(after).image(&loss);
            let checked = self.run.check(&image, promised, &appended);
            checked
                .map_err(|fault| format!("after a restart and, at operation {after}, {loss:?}: {fault}"))?;
        }
        Ok(())
    }

    /// How many operations a run takes from here.
    fn operations(&self) -> usize {
        let disk = self.disk.fork();
        run(&disk, &self.run.plan).1.unwrap();
        disk.operations()
    }

    #[track_caller]
    fn check_all(&self, what: &str) {
        let operations = self.operations();
        let every = match scale() {
            Scale::Full => 1,
            Scale::Sample => 53,
        };
        let (mut tried, mut index) = (0, 0);
        for nth in 0..operations {
            for fault in Fault::ALL {
                for lasting in [Lasting::Once, Lasting::FromThenOn] {
                    for (sync_mode, on_error) in [
                        (SyncMode::Honest, OnError::End),
                        (SyncMode::FailingDropsPages, OnError::End),
                        (SyncMode::FailingDropsPages, OnError::GoOn),
                    ] {
                        index += 1;
                        if index % every == 0 {
                            let case = Case { nth, fault, lasting, sync_mode, on_error };
                            self.check(case).unwrap_or_else(|fault| panic!("{what}, {case:?}: {fault}"));
                            tried += 1;
                        }
                    }
                }
            }
        }
        println!("faults, {what}: {operations} operations, {tried} runs");
    }
}

/// The error names a file, or the directory, of an operation that failed.
fn check_names_file(disk: &SimulatedDisk, failure: &Failure) -> Result<(), String> {
    let history = disk.history();
    let mut failed = history.iter().filter(|recorded| recorded.outcome() == Outcome::Failed);
    let is_named = failed.any(|recorded| {
        let path = recorded.path().to_string_lossy();
        failure.message.contains(path.trim_end_matches(".tmp"))
    });
    if is_named { Ok(()) } else { Err(format!("the error names no file: {}", failure.message)) }
}

#[track_caller]
fn check_faults(durability: Durability, saving: Saving) {
    let plan = Plan { durability, saving, on_error: OnError::End, seed: 3 };
    let empty = used_disk(&plan);
    let run = Undisturbed::new(plan, empty.fork());
    let found = Found { run: &run, disk: empty, promised: Promised::default() };
    found.check_all(&format!("{durability:?}, saving {saving:?}, from the start"));

    // A recovery that has something to do: a torn journal, half a checkpoint, a link that was not made.
    let points: Vec<_> = run.disk.crash_points().collect();
    for (index, point) in points.iter().enumerate().filter(|(index, _)| index % (points.len() / 3) == 9) {
        let loss = PowerLoss { seed: index as u64, ..PowerLoss::nth(30, 1) };
        let after = point.after_operation();
        let found = Found { run: &run, disk: point.image(&loss), promised: run.ledger.promised(after) };
        found.check_all(&format!("{durability:?}, saving {saving:?}, taken up after {after} operations"));
    }
}

#[test]
fn whatever_fails_nothing_durable_is_altered_and_the_run_ends_with_the_same_bytes() {
    check_faults(Durability::Step, Saving::Now);
}

#[test]
fn nor_when_it_fails_in_the_background() {
    check_faults(INTERVAL, Saving::Background);
}

#[test]
fn nor_when_only_checkpoints_make_steps_durable() {
    check_faults(Durability::Checkpoint, Saving::Now);
}

fn is_damaged_best(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.contains("best.safetensors.damaged"))
}

#[test]
fn a_disk_that_lies_about_syncs_costs_the_promise_and_nothing_damaged_is_loaded() {
    let every = match scale() {
        Scale::Full => 1,
        Scale::Sample => 40,
    };
    let (mut refused, mut tried) = (0, 0);
    for durability in [Durability::Step, Durability::Checkpoint] {
        let plan = Plan { durability, saving: Saving::Now, on_error: OnError::End, seed: 4 };
        // No other run was on the disk: where nothing is durable, its files come back whole and are taken for this one's.
        let (disk, lying) = (SimulatedDisk::new(), SimulatedDisk::new());
        lying.set_sync_mode(SyncMode::Lying);
        let honest = Undisturbed::new(plan, disk);
        run(&lying, &plan).1.unwrap();
        let appended = records(&lying);
        for (point, index) in lying.crash_points().zip(0..) {
            for (loss, image) in point.images(64, 9).skip(index % every).step_by(every) {
                tried += 1;
                let (ledger, ended) = run(&image, &plan);
                let checked = match &ended {
                    _ if !appended.starts_with(&ledger.found) => {
                        Err("a record that nobody appended".to_owned())
                    }
                    // A best checkpoint that the disk lost is said and set aside; no other takes its name.
                    Ok(()) if !image.files().iter().any(|(path, _)| is_damaged_best(path)) => {
                        honest.check_loaded(&ledger).and_then(|()| honest.check_outcome(&image))
                    }
                    Ok(()) => honest.check_loaded(&ledger),
                    Err(_) => honest.check_loaded(&ledger),
                };
                refused += u64::from(ended.is_err());
                checked.unwrap_or_else(|fault| panic!("{plan:?}, crash point {index}, {loss:?}: {fault}"));
            }
        }
    }
    assert!(refused > 0, "a disk that lies is never found out");
    println!(
        "lying syncs: {tried} power losses, {refused} times the run was refused, else it ended with the same bytes"
    );
}

#[test]
fn a_file_system_without_hard_links_keeps_its_promises_too() {
    let plan = Plan { durability: Durability::Step, saving: Saving::Now, on_error: OnError::End, seed: 5 };
    let disk = used_disk(&plan);
    let no_links = |disk: &SimulatedDisk| {
        disk.fail_when(|attempt| (attempt.operation == Operation::HardLink).then_some(Fault::Unsupported));
    };
    no_links(&disk);
    let run = Undisturbed::new(plan, disk);
    let every = match scale() {
        Scale::Full => 1,
        Scale::Sample => 24,
    };
    for (point, index) in run.disk.crash_points().zip(0..) {
        let promised = run.ledger.promised(point.after_operation());
        for (loss, image) in point.images(64, 2).skip(index % every).step_by(every) {
            no_links(&image);
            let checked = run.check(&image, promised, &run.records);
            checked.unwrap_or_else(|fault| panic!("crash point {index}, {loss:?}: {fault}"));
        }
    }
}
