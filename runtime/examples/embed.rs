//! A program that can be killed at any instant: it fits a linear model, and run again it goes on where it was.
//!
//!     cargo run --example embed -- /tmp/exp
//!
//! Interrupt it, `kill -9` it, run it again: it ends with the same weights. It shows how the parts of the crate work
//! together: the lock, recovery from the newest checkpoint, steps that are computed again and compared with the
//! journal, checkpoints in the background, and an emergency checkpoint when a signal asks the program to stop.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ndarray::{Array1, Array2};
use trainer_runtime::checkpoint::{EmergencyCause, Kind, Name, Receipt, Snapshot, TensorView};
use trainer_runtime::codec::{self, Decode, Encode, EncodeError};
use trainer_runtime::disk::RealDisk;
use trainer_runtime::keeper::{Announce, Keeper, Options, Rank, Save};
use trainer_runtime::lock::WorkDirLock;
use trainer_runtime::signals::{OnStop, Signal, Signals};

const FEATURES: usize = 8;
const BATCH_SIZE: usize = 32;
const LEARNING_RATE: f64 = 0.05;
const CHECKPOINT_EVERY_STEPS: u64 = 50;

/// The kinds of records of this program.
pub(crate) const STEP_DONE: u16 = 1;
const CHECKPOINT_DURABLE: u16 = 2;
const CHECKPOINT_DROPPED: u16 = 3;

/// What the journal says of a step. The loss is kept as its bits: a step that is computed again must give the same.
#[derive(Encode, Decode)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
struct StepDone {
    step: u64,
    loss_bits: u64,
}

/// The records with which the journal tells of checkpoints.
struct Records;

impl Announce for Records {
    fn durable(&self, receipt: &Receipt) -> Result<(u16, Vec<u8>), EncodeError> {
        Ok((CHECKPOINT_DURABLE, codec::encode(&receipt.name.to_string())?))
    }

    fn dropped(&self, name: Name) -> Result<(u16, Vec<u8>), EncodeError> {
        Ok((CHECKPOINT_DROPPED, codec::encode(&name.to_string())?))
    }
}

#[derive(Clone)]
struct Weights(Array1<f64>);

impl Snapshot for Weights {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        let elements =
            self.0.as_slice().expect("a one-dimensional array that owns its elements is contiguous");
        vec![TensorView::new("weight", self.0.shape(), elements)]
    }
}

pub(crate) type Failure = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Failure> {
    // Before any thread is started.
    let signals = Signals::install()?;
    let mut arguments = std::env::args_os().skip(1);
    let work_dir = arguments.next().ok_or("usage: embed WORK_DIR [STEPS]")?;
    let last_step = match arguments.next() {
        Some(steps) => steps.to_str().ok_or("STEPS is not a number")?.parse()?,
        None => 1000,
    };
    let report = |step, loss| println!("step {step} loss {loss:.6}");
    let stopped_by = train(Path::new(&work_dir), last_step, &signals, report)?;
    Ok(stopped_by.map_or(ExitCode::SUCCESS, |signal| ExitCode::from(signal.exit_code() as u8)))
}

/// Trains up to a step, or until a signal asks to stop, and reports each step and its loss.
pub(crate) fn train(
    work_dir: &Path,
    last_step: u64,
    signals: &Signals,
    mut report: impl FnMut(u64, f64),
) -> Result<Option<Signal>, Failure> {
    let _lock = WorkDirLock::acquire(work_dir)?;
    let opened = Keeper::open(RealDisk::shared(), work_dir, Options::default(), Box::new(Records))?;
    let mut keeper = opened.keeper;
    if let Some(aside) = opened.set_aside {
        eprintln!("the end of the journal was torn; it is now in {}", aside.path.display());
    }
    let mut known = Vec::new();
    for record in opened.records.iter().filter(|record| record.kind == STEP_DONE) {
        known.push(codec::decode::<StepDone>(&record.payload)?);
    }
    let (mut weights, mut step) = recover(&mut keeper)?;
    if step > 0 || !known.is_empty() {
        eprintln!("resuming after step {step}; {} steps are in the journal", known.len());
    }

    // Until here a stop signal ends the process at once; from here on there is something to save.
    signals.set_on_stop(OnStop::Request);
    while step < last_step {
        if let Some(signal) = signals.stop_requested() {
            keeper.flush()?;
            keeper.save_now(save(Kind::Emergency(EmergencyCause::Signal(signal)), &weights, step))?;
            eprintln!("stopped by {signal} after step {step}, which is saved");
            return Ok(Some(signal));
        }
        step += 1;
        // Copied only if a checkpoint being written still holds the weights; otherwise updated in place.
        let loss = train_step(&mut Arc::make_mut(&mut weights).0, step);
        match known.get(step as usize - 1) {
            Some(before) if before.step != step || before.loss_bits != loss.to_bits() => {
                return Err(format!("step {step} was computed again and gave another loss").into());
            }
            Some(_) => {}
            None => {
                let record = StepDone { step, loss_bits: loss.to_bits() };
                keeper.append(STEP_DONE, &codec::encode(&record)?)?;
            }
        }
        report(step, loss);
        if step % CHECKPOINT_EVERY_STEPS == 0 {
            keeper.save(save(Kind::Step, &weights, step))?;
        }
        keeper.collect()?;
    }
    keeper.flush()?;
    keeper.save_now(save(Kind::Epoch, &weights, step))?;
    keeper.link_final()?;
    keeper.close()?;
    Ok(None)
}

fn save(kind: Kind, weights: &Arc<Weights>, step: u64) -> Save {
    Save { kind, rank: Rank::Ordinary, epoch: 1, step, state: Vec::new(), snapshot: weights.clone() }
}

/// The weights and the step of the newest checkpoint that verifies, or the beginning where there never was one.
fn recover(keeper: &mut Keeper) -> Result<(Arc<Weights>, u64), Failure> {
    let recovery = keeper.recover()?;
    let Some((name, checkpoint)) = recovery.newest else {
        return Ok((Arc::new(Weights(Array1::zeros(FEATURES))), 0));
    };
    for passed_over in keeper.take_up(name, recovery.rejected, None)? {
        eprintln!("{passed_over}");
    }
    let weight = checkpoint.tensor("weight").ok_or("the checkpoint has no weight")?;
    Ok((Arc::new(Weights(Array1::from(weight.to_vec()?))), name.step))
}

/// One step of gradient descent on the squared error; returns the loss. The batch is a function of the step, so that a
/// step which is computed again sees the same data.
fn train_step(weights: &mut Array1<f64>, step: u64) -> f64 {
    let uniform = |row: usize, column: usize| {
        let mut bits = (step << 32 | (row * FEATURES + column) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits ^= bits >> 32;
        bits = bits.wrapping_mul(0xd6e8_feb8_6659_fd93);
        (bits >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let inputs = Array2::from_shape_fn((BATCH_SIZE, FEATURES), |(row, column)| uniform(row, column));
    let truth = Array1::from_shape_fn(FEATURES, |feature| feature as f64 - 3.0);
    let errors = inputs.dot(&*weights) - inputs.dot(&truth);
    let loss = errors.dot(&errors) / BATCH_SIZE as f64;
    weights.scaled_add(-2.0 * LEARNING_RATE / BATCH_SIZE as f64, &inputs.t().dot(&errors));
    loss
}
