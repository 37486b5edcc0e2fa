//! A program that embeds the crate: it "trains" a few hundred numbers, deterministically, on whatever disk it is given,
//! and writes down what it was promised and when.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trainer_runtime::RunId;
use trainer_runtime::checkpoint::{Checkpoint, Kind, Link, Name, Receipt, Retention, Snapshot, TensorView};
use trainer_runtime::codec::{self, Decode, Encode, EncodeError};
use trainer_runtime::disk::Disk;
use trainer_runtime::disk::simulated::SimulatedDisk;
use trainer_runtime::journal::{self, Durability, OpenOptions, Record};
use trainer_runtime::keeper::{
    Announce, KeepError, Keeper, Options, Patience, Rank, Room, Save, Shortage, Waiting,
};

use crate::ledger::Ledger;

pub(crate) const STEPS: u64 = 18;
const STEPS_PER_EPOCH: u64 = 6;
const CHECKPOINT_EVERY_STEPS: u64 = 4;

/// More than a sector of 4096 bytes, so that one part of a checkpoint can be lost and another not.
const WEIGHTS: usize = 1100;

/// Small enough for the journal of a run to have several segments.
const SEGMENT_LIMIT_BYTES: u64 = 600;

const STEP_DONE: u16 = 1;
const EPOCH_DONE: u16 = 2;
const CHECKPOINT_DURABLE: u16 = 3;
const CHECKPOINT_DROPPED: u16 = 4;
const FINISHED: u16 = 5;
const RESUMED: u16 = 6;

/// Numbers the attempts of all runs.
static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

/// How a run is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) durability: Durability,
    pub(crate) saving: Saving,
    pub(crate) on_error: OnError,
    /// Another seed is another run.
    pub(crate) seed: u64,
}

/// What the program does when a checkpoint fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    End,
    /// It waits for room on a full disk, which comes at once, and tries again otherwise.
    GoOn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saving {
    /// The program waits for each checkpoint.
    Now,
    /// Checkpoints are written while it goes on.
    Background,
}

/// As often as it can: a run of this program is over before any other interval ends.
pub(crate) const INTERVAL: Durability = Durability::Interval(Duration::ZERO);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model(Vec<f32>);

impl Snapshot for Model {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        let (weight, bias) = self.0.split_at(WEIGHTS - 100);
        vec![
            TensorView::new("weight", vec![10, weight.len() / 10], weight),
            TensorView::new("bias", vec![100], bias),
        ]
    }
}

impl Model {
    fn first() -> Model {
        Model(vec![0.5; WEIGHTS])
    }

    /// One step; its loss. The numbers are a function of seed and step.
    fn step(&mut self, seed: u64, step: u64) -> f64 {
        let mut bits = (seed << 32 | step).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut loss = 0.0;
        for weight in &mut self.0 {
            bits = (bits ^ (bits >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *weight = *weight * 0.75 + (bits >> 40) as f32 / (1 << 24) as f32;
            loss += f64::from(*weight);
        }
        loss
    }

    fn of(checkpoint: &Checkpoint) -> Model {
        let tensor = |name| checkpoint.tensor(name).unwrap().to_vec::<f32>().unwrap();
        Model([tensor("weight"), tensor("bias")].concat())
    }
}

/// The model after each step of an undisturbed run, from step 0.
pub(crate) fn trajectory(seed: u64) -> Vec<Model> {
    let mut models = vec![Model::first()];
    for step in 1..=STEPS {
        let mut next = models[step as usize - 1].clone();
        next.step(seed, step);
        models.push(next);
    }
    models
}

/// What a checkpoint holds besides the model.
#[derive(Debug, Clone, Default, Encode, Decode)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
struct Counters {
    epoch_loss: f64,
    /// The best loss of an epoch, and that epoch.
    best: Option<(f64, u64)>,
}

impl Counters {
    fn best_name(&self) -> Option<Name> {
        self.best.map(|(_, epoch)| Name::new(Kind::Epoch, epoch, epoch * STEPS_PER_EPOCH))
    }
}

/// What happened, as the journal tells it: each step and epoch once, with the bits of its loss.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History {
    steps: Vec<u64>,
    epochs: Vec<u64>,
    finished: bool,
}

impl History {
    fn of(records: &[Record]) -> Result<History, String> {
        let mut history = History::default();
        for record in records {
            let decode =
                |payload: &[u8]| codec::decode::<(u64, u64)>(payload).map_err(|error| error.to_string());
            let list = match record.kind {
                STEP_DONE => &mut history.steps,
                EPOCH_DONE => &mut history.epochs,
                FINISHED => {
                    history.finished = true;
                    continue;
                }
                _ => continue,
            };
            let (number, bits) = decode(&record.payload)?;
            list.push(bits);
            if number != list.len() as u64 {
                return Err(format!(
                    "record {} is of step or epoch {number} in the place of {}",
                    record.sequence,
                    list.len()
                ));
            }
        }
        Ok(history)
    }
}

/// Records about checkpoints, of these kinds, which hold their names.
pub(crate) struct Records {
    pub(crate) durable: u16,
    pub(crate) dropped: u16,
}

impl Announce for Records {
    fn durable(&self, receipt: &Receipt) -> Result<(u16, Vec<u8>), EncodeError> {
        Ok((self.durable, codec::encode(&receipt.name.to_string())?))
    }

    fn dropped(&self, name: Name) -> Result<(u16, Vec<u8>), EncodeError> {
        Ok((self.dropped, codec::encode(&name.to_string())?))
    }
}

/// Why a process ended before the run did.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) step: u64,
    pub(crate) message: String,
}

pub(crate) fn work_dir() -> PathBuf {
    PathBuf::from("/exp")
}

fn options(plan: &Plan) -> Options {
    let journal = OpenOptions {
        run_id: Some(RunId([plan.seed as u8; 16])),
        durability: plan.durability,
        segment_limit_bytes: SEGMENT_LIMIT_BYTES,
    };
    Options { journal, retention: Retention { keep_last: 2, ..Retention::default() } }
}

/// One process: takes the run up where it is, and goes on to its end or to the first error.
pub(crate) fn run(disk: &SimulatedDisk, plan: &Plan) -> (Ledger, Result<(), Failure>) {
    let mut ledger = Ledger::default();
    let mut step = 0;
    let ended = process(disk, plan, &mut ledger, &mut step);
    (ledger, ended.map_err(|message| Failure { step, message }))
}

fn process(disk: &SimulatedDisk, plan: &Plan, ledger: &mut Ledger, step: &mut u64) -> Result<(), String> {
    let records = Records { durable: CHECKPOINT_DURABLE, dropped: CHECKPOINT_DROPPED };
    let opened = Keeper::open(disk.shared(), &work_dir(), options(plan), Box::new(records)).map_err(text)?;
    let mut keeper = opened.keeper;
    ledger.found = plain(&opened.records);
    ledger.found_file_epoch = read_small_file(disk)?;
    ledger.file_epoch = ledger.found_file_epoch;
    ledger.note(disk, &keeper);
    let known = History::of(&opened.records)?;

    let (mut model, mut counters) = take_up(&mut keeper, ledger, step)?;
    ledger.recovered_at = disk.operations();
    let knows_epochs = known.epochs.len() as u64 >= *step / STEPS_PER_EPOCH;
    if (known.steps.len() as u64) < *step || !knows_epochs {
        return Err(format!("a checkpoint knows of step {step}, the journal of {} steps", known.steps.len()));
    }
    // No two attempts leave the same bytes, as in a program that records times.
    let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    keeper.append(RESUMED, &attempt.to_le_bytes()).map_err(text)?;
    while *step < STEPS {
        *step += 1;
        let loss = Arc::make_mut(&mut model).step(plan.seed, *step);
        record(disk, &mut keeper, ledger, &known.steps, (STEP_DONE, *step, loss))?;
        counters.epoch_loss += loss;
        let mut due = step.is_multiple_of(CHECKPOINT_EVERY_STEPS);
        let (mut kind, mut rank) = (Kind::Step, Rank::Ordinary);
        if step.is_multiple_of(STEPS_PER_EPOCH) {
            let epoch = *step / STEPS_PER_EPOCH;
            // The second of the three is the best: it is neither the first nor the last.
            let measure = if epoch == 2 { 0.0 } else { counters.epoch_loss.abs() + 1.0 };
            record(disk, &mut keeper, ledger, &known.epochs, (EPOCH_DONE, epoch, measure))?;
            if counters.best.is_none_or(|(best, _)| measure < best) {
                counters.best = Some((measure, epoch));
                rank = Rank::Best;
            }
            counters.epoch_loss = 0.0;
            if epoch > ledger.file_epoch {
                keeper.write_file(SMALL_FILE, &small_file(epoch)).map_err(text)?;
                ledger.file_epoch = epoch;
            }
            (due, kind) = (true, Kind::Epoch);
        }
        let (epoch, state) = (step.div_ceil(STEPS_PER_EPOCH), codec::encode(&counters).map_err(text)?);
        let save = Save { kind, rank, epoch, step: *step, state, snapshot: model.clone() };
        keep(disk, &mut keeper, plan, save, due)?;
        ledger.note(disk, &keeper);
    }
    keeper.flush().map_err(text)?;
    ledger.note(disk, &keeper);
    if !known.finished {
        keeper.append(FINISHED, b"").map_err(text)?;
    }
    keeper.link_final().map_err(text)?;
    keeper.close().map_err(text)
}

/// A file that is replaced at the end of each epoch: more than a sector of it.
const SMALL_FILE: &str = "epoch.txt";

fn small_file(epoch: u64) -> Vec<u8> {
    format!("epoch {epoch}\n").repeat(700).into_bytes()
}

/// Which epoch the small file says; it is whole, or it is not there.
fn read_small_file(disk: &SimulatedDisk) -> Result<u64, String> {
    match disk.read(&work_dir().join(SMALL_FILE), u64::MAX) {
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(text(error)),
        Ok(bytes) => (1..=STEPS / STEPS_PER_EPOCH)
            .find(|epoch| small_file(*epoch) == bytes)
            .ok_or_else(|| format!("{SMALL_FILE} is not whole")),
    }
}

/// Saves, if that is due, and hears what became of what was saved before.
fn keep(disk: &SimulatedDisk, keeper: &mut Keeper, plan: &Plan, save: Save, due: bool) -> Result<(), String> {
    let step = save.step;
    // The last one must be there: one that is handed over may give way to another.
    let saved = match plan.saving {
        _ if !due => Ok(()),
        Saving::Background if step < STEPS => keeper.save(save.clone()).map(drop),
        Saving::Background | Saving::Now => keeper.save_now(save.clone()).map(drop),
    };
    saved.or_else(|error| deal_with(disk, keeper, plan, error, save.clone()))?;
    // In the background a checkpoint is written during the next step, and perhaps the one after.
    let collected = if step % CHECKPOINT_EVERY_STEPS == 1 { keeper.flush() } else { keeper.collect() };
    collected.map(drop).or_else(|error| deal_with(disk, keeper, plan, error, save))
}

/// Ends, or goes on after an error: with the same state saved, when the disk does it this time.
fn deal_with(
    disk: &SimulatedDisk,
    keeper: &mut Keeper,
    plan: &Plan,
    error: KeepError,
    save: Save,
) -> Result<(), String> {
    match plan.on_error {
        OnError::End => Err(text(error)),
        OnError::GoOn if error.is_full() => {
            match keeper.wait_for_room(error, save, &mut Freed(disk)).map_err(text)? {
                Room::Returned => Ok(()),
                Room::GivenUp { cause, .. } => Err(text(cause)),
            }
        }
        OnError::GoOn => keeper.save_now(save).map(drop).map_err(text),
    }
}

/// Somebody frees the disk while the program waits.
struct Freed<'a>(&'a SimulatedDisk);

impl Patience for Freed<'_> {
    fn paused(&mut self, _shortage: &Shortage) {}

    fn wait(&mut self, _shortage: &Shortage, _pause: Duration) -> Waiting {
        self.0.heal();
        Waiting::GoOn
    }

    fn resumed(&mut self) {}
}

/// Every record of a journal that can be read.
pub(crate) fn records(disk: &SimulatedDisk) -> Vec<(u16, Vec<u8>)> {
    plain(&journal::read(disk, &work_dir().join("journal")).unwrap().records)
}

/// The step of the newest checkpoint that is announced in these records; 0 if none is.
pub(crate) fn announced_step(records: &[(u16, Vec<u8>)]) -> u64 {
    let name = |payload: &[u8]| codec::decode::<String>(payload).unwrap().parse::<Name>().unwrap();
    let announced = records.iter().filter(|(kind, _)| *kind == CHECKPOINT_DURABLE);
    announced.map(|(_, payload)| name(payload).step).max().unwrap_or(0)
}

fn plain(records: &[Record]) -> Vec<(u16, Vec<u8>)> {
    records.iter().map(|record| (record.kind, record.payload.to_vec())).collect()
}

/// The newest state, or the first.
fn take_up(
    keeper: &mut Keeper,
    ledger: &mut Ledger,
    step: &mut u64,
) -> Result<(Arc<Model>, Counters), String> {
    let recovery = keeper.recover().map_err(text)?;
    ledger.rejected = recovery.rejected.iter().map(|rejected| rejected.error.to_string()).collect();
    let Some((name, checkpoint)) = recovery.newest else {
        return Ok((Arc::new(Model::first()), Counters::default()));
    };
    let model = Model::of(&checkpoint);
    ledger.loaded = Some((name.step, model.clone()));
    let counters: Counters = codec::decode(checkpoint.state()).map_err(text)?;
    keeper.take_up(name, recovery.rejected, counters.best_name()).map_err(text)?;
    *step = name.step;
    Ok((Arc::new(model), counters))
}

/// Records a step or an epoch, or holds it against what is recorded.
fn record(
    disk: &SimulatedDisk,
    keeper: &mut Keeper,
    ledger: &mut Ledger,
    known: &[u64],
    (kind, number, loss): (u16, u64, f64),
) -> Result<(), String> {
    match known.get(number as usize - 1) {
        Some(bits) if *bits != loss.to_bits() => {
            return Err(format!("step or epoch {number} was computed again and gave another loss"));
        }
        Some(_) => {}
        None => {
            let payload = codec::encode(&(number, loss.to_bits())).map_err(text)?;
            keeper.append(kind, &payload).map_err(text)?;
        }
    }
    ledger.note(disk, keeper);
    Ok(())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What a run left when it had ended: everything by which two runs are compared.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) history: History,
    /// The bytes of `best`, `last` and `final`.
    pub(crate) links: Vec<Vec<u8>>,
    /// Which epoch the small file says.
    pub(crate) file_epoch: u64,
}

pub(crate) fn outcome(disk: &SimulatedDisk) -> Result<Outcome, String> {
    let contents = journal::read(disk, &work_dir().join("journal")).map_err(text)?;
    if contents.tail != journal::Tail::Clean {
        return Err(format!("the journal of a finished run ends with {:?}", contents.tail));
    }
    let read = |link: Link| {
        let path = work_dir().join("checkpoints").join(link.to_string());
        Checkpoint::load(disk, &path).map_err(text)?;
        disk.read(&path, u64::MAX).map_err(text)
    };
    let links = [Link::Best, Link::Last, Link::Final].into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Outcome { history: History::of(&contents.records)?, links, file_epoch: read_small_file(disk)? })
}

/// A disk on which another run was, of which only bytes in free sectors remain.
pub(crate) fn used_disk(plan: &Plan) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let other = Plan {
        seed: plan.seed + 100,
        durability: Durability::Step,
        saving: Saving::Now,
        on_error: OnError::End,
    };
    run(&disk, &other).1.unwrap();
    for (path, _) in disk.files() {
        disk.remove(&path).unwrap();
    }
    disk.create_dir_all(Path::new("/exp")).unwrap();
    disk.settle();
    disk
}
