//! A run goes back to an older checkpoint, once to one of its own and once to one of a branch that had ended, and the power
//! fails, or an operation does, at every moment of that and of what follows, up to the first steps of the new branch.
//!
//! What must hold: no process ever goes on from a checkpoint of another line of steps than the one that its journal has, no
//! checkpoint is lost, and the same command ends with the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use trainer_runtime::RunId;
use trainer_runtime::checkpoint::{
    BranchFile, Checkpoint, Kind, Link, LoadError, Name, Retention, Snapshot, Store, TensorView,
};
use trainer_runtime::codec::{self, Decode, Encode};
use trainer_runtime::disk::Disk as _;
use trainer_runtime::disk::simulated::{Fault, Lasting, PowerLoss, SimulatedDisk, SyncMode};
use trainer_runtime::journal::{Durability, OpenOptions, Record};
use trainer_runtime::keeper::{CHECKPOINTS_DIR, Cut, Keeper, Options, Rank, Save};

use crate::program::{Records, work_dir};
use crate::{Scale, scale};

const STEP: u16 = 1;
const DURABLE: u16 = 2;
const DROPPED: u16 = 3;
const CUT: u16 = 4;
const RESUMED: u16 = 5;

/// Damage states after each operation.
const STATES: u64 = 64;

/// What a step gave, which tells the branch that computed it.
type Outcome = u64;

/// What each step of a line gave.
type Line = BTreeMap<u64, Outcome>;

#[derive(Debug)]
struct Weights(Outcome);

impl Snapshot for Weights {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        vec![TensorView::new("weight", vec![1], std::slice::from_ref(&self.0))]
    }
}

/// A cut as the journal of this program has it.
#[derive(Debug, Clone, Encode, Decode)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
struct CutRecord {
    branch: u64,
    of_branch: u64,
    step: u64,
    moved: Vec<String>,
    taken_in: Option<String>,
}

impl CutRecord {
    fn cut(&self) -> Cut {
        Cut {
            branch: self.branch,
            moved: self.moved.iter().map(|name| name.parse().unwrap()).collect(),
            taken_in: self.taken_in.as_ref().map(|name| name.parse().unwrap()),
        }
    }
}

/// What the journal comes to.
#[derive(Debug, Default)]
struct History {
    line: Line,
    ended: BTreeMap<u64, Line>,
    open_cut: Option<CutRecord>,
}

impl History {
    fn of(records: &[Record]) -> History {
        let mut history = History::default();
        for record in records {
            match record.kind {
                STEP => {
                    let (step, outcome) = codec::decode::<(u64, u64)>(&record.payload).unwrap();
                    history.line.insert(step, outcome);
                }
                CUT => history.cut(codec::decode(&record.payload).unwrap()),
                RESUMED => history.open_cut = None,
                _ => {}
            }
        }
        history
    }

    fn branch(&self) -> u64 {
        self.ended.len() as u64 + 1
    }

    fn line_of(&self, branch: u64) -> &Line {
        self.ended.get(&branch).unwrap_or(&self.line)
    }

    fn cut(&mut self, cut: CutRecord) {
        let taken_over = self.line_of(cut.of_branch).range(..=cut.step);
        let taken_over = taken_over.map(|(step, outcome)| (*step, *outcome)).collect();
        let ended = std::mem::replace(&mut self.line, taken_over);
        self.ended.insert(cut.branch, ended);
        self.open_cut = Some(cut);
    }
}

/// A command: to which step of which branch to go back, unless that is done, and the step at which it ends.
#[derive(Debug, Clone, Copy)]
struct Command {
    /// How many branches have ended when it is done.
    cuts: u64,
    back_to: Option<(u64, u64)>,
    until: u64,
}

/// A run of four steps, back to the second and on to the fifth, back to the fourth of the first branch and on to the sixth.
const COMMANDS: [Command; 3] = [
    Command { cuts: 0, back_to: None, until: 4 },
    Command { cuts: 1, back_to: Some((1, 2)), until: 5 },
    Command { cuts: 2, back_to: Some((1, 4)), until: 6 },
];

fn name(step: u64) -> Name {
    Name::new(Kind::Epoch, step, step)
}

fn checkpoints() -> PathBuf {
    work_dir().join(CHECKPOINTS_DIR)
}

fn outcome_in(checkpoint: &Checkpoint) -> Outcome {
    checkpoint.tensor("weight").unwrap().to_vec::<u64>().unwrap()[0]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// One process: finishes a cut that was begun, makes its own unless that is done, and goes on to the end of the command.
///
/// # Panics
/// If it is about to go on from a checkpoint of another line of steps.
fn process(disk: &SimulatedDisk, command: Command) -> Result<(), String> {
    let journal = OpenOptions {
        run_id: Some(RunId([7; 16])),
        durability: Durability::Checkpoint,
        ..OpenOptions::default()
    };
    let options = Options { journal, retention: Retention { keep_last: 99, ..Retention::default() } };
    let records = Records { durable: DURABLE, dropped: DROPPED };
    let opened = Keeper::open(disk.shared(), &work_dir(), options, Box::new(records)).map_err(text)?;
    let (mut keeper, mut history) = (opened.keeper, History::of(&opened.records));
    if let Some(cut) = &history.open_cut {
        keeper.finish_cut(&cut.cut()).map_err(text)?;
    }
    keeper.store().forget_taken_in().map_err(text)?;
    if let Some(back_to) = command.back_to.filter(|_| history.branch() <= command.cuts) {
        let (cut, from) = cut(&keeper, &history, back_to)?;
        let record = codec::encode(&cut).unwrap();
        keeper.cut(&cut.cut(), from.as_deref(), (CUT, &record)).map_err(text)?;
        history.cut(cut);
    }
    let recovery = keeper.recover().map_err(text)?;
    if let Some(rejected) = recovery.rejected.first() {
        return Err(text(&rejected.error));
    }
    let mut step = 0;
    if let Some((newest, checkpoint)) = recovery.newest {
        let expected = history.line.get(&newest.step);
        assert_eq!(expected, Some(&outcome_in(&checkpoint)), "{newest} is of another line of steps");
        keeper.take_up(newest, Vec::new(), None).map_err(text)?;
        step = newest.step;
    }
    keeper.append(RESUMED, b"").map_err(text)?;
    keeper.sync().map_err(text)?;
    let branch = history.branch();
    while step < command.until {
        step += 1;
        let outcome = history.line.get(&step).copied().unwrap_or(branch * 100 + step);
        if !history.line.contains_key(&step) {
            keeper.append(STEP, &codec::encode(&(step, outcome)).unwrap()).map_err(text)?;
        }
        let (snapshot, state) = (Arc::new(Weights(outcome)), Vec::new());
        let save = Save { kind: Kind::Epoch, rank: Rank::Ordinary, epoch: step, step, state, snapshot };
        keeper.save_now(save).map_err(text)?;
    }
    keeper.close().map_err(text)
}

/// What goes into the folder of the branch that ends, and the file of what is taken in.
fn cut(
    keeper: &Keeper,
    history: &History,
    (of_branch, step): (u64, u64),
) -> Result<(CutRecord, Option<PathBuf>), String> {
    let (store, branch) = (keeper.store(), history.branch());
    let line = history.line_of(of_branch);
    let is_own = of_branch == branch;
    let from = (!is_own).then(|| store.branch(of_branch).path(name(step)));
    let stays = |name: Name, checkpoint: &Checkpoint| {
        let is_replaced = from.is_some() && name.step == step;
        name.step <= step && line.get(&name.step) == Some(&outcome_in(checkpoint)) && !is_replaced
    };
    let mut moved = Vec::new();
    for entry in store.list().map_err(text)? {
        if !stays(entry.name, &store.load(entry.name).map_err(text)?) {
            moved.push(BranchFile::Checkpoint(entry.name).to_string());
        }
    }
    for link in Link::ALL {
        match store.load_link(link) {
            Ok(checkpoint) if stays(checkpoint.meta().name(), &checkpoint) => {}
            Ok(_) => moved.push(BranchFile::Link(link).to_string()),
            Err(LoadError::Disk(error)) if error.is_not_found() => {}
            Err(error) => return Err(text(error)),
        }
    }
    let taken_in = from.as_ref().map(|_| name(step).to_string());
    Ok((
        CutRecord { branch, of_branch: if is_own { branch } else { of_branch }, step, moved, taken_in },
        from,
    ))
}

/// Everything in the folder of checkpoints and in those of branches, by path.
fn files(disk: &SimulatedDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = disk.files().into_iter().filter(|(path, _)| path.starts_with(checkpoints()));
    files.map(|(path, bytes)| (path, bytes.to_vec())).collect()
}

/// A disk after some of the commands.
fn after(commands: &[Command]) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create_dir_all(&work_dir()).unwrap();
    commands.iter().for_each(|command| process(&disk, *command).unwrap());
    disk.settle();
    disk
}

/// That whatever was found, the command ends with these files and no checkpoint of before is gone.
#[track_caller]
fn check(found: &SimulatedDisk, command: Command, expected: &SimulatedDisk, place: &str) {
    process(found, command).unwrap_or_else(|error| panic!("{place}: {error}"));
    let (left, expected) = (files(found), files(expected));
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left), names(&expected), "{place}");
    assert!(left == expected, "{place}: a file has other bytes");
}

/// That no bytes of a checkpoint are gone; also a process that was not told to go back leaves them.
#[track_caller]
fn check_all_there(found: &SimulatedDisk, before: &BTreeMap<PathBuf, Vec<u8>>, place: &str) {
    let there: BTreeSet<Vec<u8>> = files(found).into_values().collect();
    for (path, bytes) in before {
        assert!(there.contains(bytes), "{place}: {} is gone", path.display());
    }
}

fn every() -> u64 {
    match scale() {
        Scale::Full => 1,
        Scale::Sample => 8,
    }
}

#[test]
fn a_power_loss_while_a_run_goes_back_takes_no_file_and_never_mixes_two_branches() {
    let (mut tried, mut in_recovery) = (0_u64, 0_u64);
    for (index, command) in COMMANDS.into_iter().enumerate().skip(1) {
        let disk = after(&COMMANDS[..index]);
        let before = files(&disk);
        process(&disk, command).unwrap();
        let expected = disk.fork();
        for point in disk.crash_points() {
            let seed = point.after_operation() as u64;
            for nth in (0..STATES).filter(|nth| (nth * 5 + seed).is_multiple_of(every())) {
                let loss = PowerLoss::nth(nth, seed);
                let place = format!("{command:?}, after {seed} operations, {loss:?}");
                let image = point.image(&loss);
                tried += 1;
                check_all_there(&image, &before, &place);
                // Somebody who gives another command, such as a scheduler, finds one line of steps as well.
                let plain = image.fork();
                process(&plain, Command { back_to: None, ..command }).unwrap();
                check_all_there(&plain, &before, &place);
                let again = image.fork();
                check(&again, command, &expected, &place);
                if nth % 16 == 1 {
                    in_recovery += check_recovery(&again, command, &expected, &place);
                }
            }
        }
    }
    println!("power loss while going back: {tried} damage states, {in_recovery} more in what finishes it");
}

/// The power fails again in the process that finishes it.
#[track_caller]
fn check_recovery(disk: &SimulatedDisk, command: Command, expected: &SimulatedDisk, place: &str) -> u64 {
    let mut tried = 0;
    for point in disk.crash_points().step_by(3) {
        let seed = point.after_operation() as u64;
        let loss = PowerLoss::nth(seed % STATES, seed);
        check(&point.image(&loss), command, expected, &format!("{place}, then after {seed}, {loss:?}"));
        tried += 1;
    }
    tried
}

#[test]
fn whatever_fails_while_a_run_goes_back_the_same_command_ends_with_the_same_files() {
    let mut tried = 0_u64;
    for (index, command) in COMMANDS.into_iter().enumerate().skip(1) {
        let disk = after(&COMMANDS[..index]);
        let before = files(&disk);
        let expected = disk.fork();
        process(&expected, command).unwrap();
        let operations = expected.operations();
        for nth in 0..operations {
            for (fault, number) in Fault::ALL.into_iter().zip(0_u64..) {
                for (lasting, mode) in
                    [(Lasting::Once, SyncMode::FailingDropsPages), (Lasting::FromThenOn, SyncMode::Honest)]
                {
                    if !(nth as u64 + number).is_multiple_of(every()) {
                        continue;
                    }
                    let place = format!("{command:?}, {fault:?} {lasting:?} at {nth}");
                    let disk = disk.fork();
                    disk.set_sync_mode(mode);
                    disk.fail_nth(nth, fault, lasting);
                    _ = process(&disk, command);
                    disk.heal();
                    tried += 1;
                    let image = disk.crash_point(disk.operations()).image(&PowerLoss::nth(1, nth as u64));
                    check_all_there(&image, &before, &place);
                    check(&image, command, &expected, &format!("{place}, then power lost"));
                    check(&disk, command, &expected, &place);
                }
            }
        }
    }
    println!("faults while going back: {tried} runs");
}

#[test]
fn what_a_run_goes_back_to_is_what_it_says() {
    let disk = after(&COMMANDS);
    let store = Store::open_read_only(disk.shared(), &checkpoints());
    let outcomes = |store: &Store| {
        let entries = store.list().unwrap();
        entries.iter().map(|entry| outcome_in(&store.load(entry.name).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&store), [101, 102, 104, 305, 306]);
    assert_eq!(outcomes(&store.branch(1)), [103, 104]);
    assert_eq!(outcomes(&store.branch(2)), [203, 204, 205]);
}
