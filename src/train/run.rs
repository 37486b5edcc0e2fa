//! The loop: epochs of steps, each a transaction that is journaled when it is committed.

use super::batching::{Batching, parts, take_part};
use super::best::Direction;
use super::control::Control;
use super::dropout::fill_mask;
use super::event::{Event, StepDone};
use super::keeper::Keeper;
use super::observe::{Observer, StepProgress};
use super::oom::begin_batching;
use super::outcome::{Ending, NotReproduced, RunError};
use super::policy::SavePolicy;
use super::prepare::Prepared;
use super::pressure;
use super::saved::Saved;
use super::schedule::Schedule;
use super::status::Phase;
use super::watch::{watch_from_the_start, watched_column};
use crate::data::{Batch, Batches, Cursor, Prefetch};
use crate::engine::error::ErrorClass;
use crate::engine::step::{Clipping, StepOutcome};
use crate::random::{Purpose, stream};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trainer_runtime::checkpoint::Kind;
use trainer_runtime::memory::{Reserve, Watch};
use trainer_runtime::signals::Signal;

mod epoch;
mod refused;

/// What a run needs besides what was prepared.
pub struct Context<'a> {
    /// Storage.
    pub keeper: &'a mut Keeper,
    /// Requests from outside, and where the run is.
    pub control: &'a Control,
    /// Who is told about progress.
    pub observer: &'a mut dyn Observer,
    /// Number of this attempt.
    pub attempt: u64,
    /// Steps that the journal has and the state has not: they are computed again and must give the recorded losses.
    pub recorded: BTreeMap<u64, StepDone>,
    /// Portions that an earlier attempt went over to at places (epoch, batch) beyond the state.
    pub batchings: BTreeMap<(u64, u64), Batching>,
    /// Why the portions are not those of the journal and the settings, if that is known.
    pub batching_reason: Option<&'static str>,
    /// Whether it was said that BatchNormalization sees less than the batch.
    pub warned_of_statistics: bool,
}

/// Trains from `saved` to the end of the run, or until something stops it.
///
/// # Errors
/// See [`RunError`]; a signal is no error.
pub fn run(prepared: &mut Prepared, saved: Saved, mut context: Context<'_>) -> Result<Ending, RunError> {
    let plan = &prepared.plan;
    let per_epoch = prepared.batches_per_epoch();
    // A limit on steps cuts the run short; it does not bend the learning rate.
    let total = plan.train.epochs.saturating_mul(per_epoch);
    let schedule = Schedule::new(&plan.schedule, plan.optimizer.lr, per_epoch, total);
    let warmup = plan.schedule.warmup_steps;
    if warmup >= total.min(plan.train.max_steps.unwrap_or(u64::MAX)) {
        let line =
            "so the full learning rate is never reached; lower `schedule.warmup_steps` or train longer";
        context.observer.notice(&format!("the warm-up of {warmup} steps takes the whole run, {line}"));
    }
    let watched = watched_column(plan, prepared.validation.is_some())?;
    let mut saved = saved;
    saved.scale_loss(plan.train.precision);
    if saved.watched != watched.0 {
        watch_from_the_start(&mut saved, plan, &watched, &mut context);
    }
    begin_batching(prepared, &saved, &mut context)?;
    let batches = batches_from(prepared, &saved);
    let layout = Arc::new(prepared.engine.layout().clone());
    let started = Instant::now();
    let policy = SavePolicy::new(&prepared.plan.checkpoint, started);
    context.control.enter(Phase::Training);
    context.control.status().set_step(saved.step);
    let watch =
        prepared.plan.memory.watch.then(|| pressure::watch(context.control, prepared.engine.cancel()));
    let mut training = Loop {
        whole: saved.clone(),
        in_update: false,
        reserve: pressure::reserve(layout.bytes()),
        _watch: watch.flatten(),
        asked_save: None,
        prepared,
        saved,
        context,
        schedule,
        watched,
        batches,
        layout,
        policy,
        started,
        epoch_started: started,
        sampled_at: started,
    };
    training.reserve_on_disk()?;
    // A process that died between a record and the tables left them behind.
    training.write_history()?;
    training.run_guarded()
}

/// The batches from where `saved` is to the end of the run, prepared ahead.
pub(super) fn batches_from(prepared: &Prepared, saved: &Saved) -> Batches {
    let (loader, sampler) = prepared.train.clone();
    let cursor = Cursor { epoch: saved.epoch, batch: saved.batch };
    let ahead = Prefetch::Ahead(NonZeroUsize::MIN.saturating_add(1));
    Batches::start(loader, sampler, cursor, prepared.plan.train.epochs, ahead)
}

pub(super) struct Loop<'a, 'c> {
    pub(super) prepared: &'a mut Prepared,
    pub(super) saved: Saved,
    /// `saved` when it last was that of the committed state: what a panic in the middle of a change leaves.
    pub(super) whole: Saved,
    /// Whether the state is being changed, or is ahead of `whole`.
    pub(super) in_update: bool,
    pub(super) context: Context<'c>,
    pub(super) reserve: Option<Reserve>,
    _watch: Option<Watch>,
    /// The step that SIGUSR1 asked to save, until it is.
    pub(super) asked_save: Option<u64>,
    schedule: Schedule,
    /// The column that best tracking and early stopping watch, and which way it improves.
    watched: (String, Direction),
    pub(super) batches: Batches,
    pub(super) layout: Arc<crate::engine::state::Layout>,
    pub(super) policy: SavePolicy,
    started: Instant,
    epoch_started: Instant,
    /// When the clock was recorded last.
    pub(super) sampled_at: Instant,
}

impl Loop<'_, '_> {
    pub(super) fn run(&mut self) -> Result<Ending, RunError> {
        let ending = loop {
            self.check_other_threads()?;
            if let Some(ending) = self.reason_to_end() {
                break ending;
            }
            self.answer_alarm()?;
            self.follow_journal()?;
            let worked = if self.saved.batch < self.prepared.batches_per_epoch() {
                self.step()
            } else {
                self.end_epoch()
            };
            match worked {
                Ok(()) => {}
                Err(error) if is_cancelled(&error) && self.context.control.has_cancelled() => {
                    self.prepared.engine.abandon();
                    self.context.control.status().abandon_step();
                }
                Err(error) => self.recover(error)?,
            }
            self.sample_if_due()?;
            self.with_room(|run| run.collect())?;
            self.tell_of_save();
        };
        self.close(&ending)?;
        Ok(ending)
    }

    fn reason_to_end(&self) -> Option<Ending> {
        let train = &self.prepared.plan.train;
        if let Some(signal) = self.context.control.stop_requested() {
            return Some(Ending::Signal(signal));
        }
        let patience = train.early_stopping.as_ref().map(|plan| plan.patience);
        if patience.is_some_and(|patience| self.saved.early_stopping.epochs_without_improvement >= patience) {
            return Some(Ending::StoppedEarly);
        }
        let epoch_is_open = self.saved.batch == self.prepared.batches_per_epoch();
        if self.saved.epoch > train.epochs
            || (!epoch_is_open && train.max_steps.is_some_and(|most| self.saved.step >= most))
        {
            return Some(Ending::Complete);
        }
        let limit =
            train.max_time_s.map(|limit_s| Duration::try_from_secs_f64(limit_s).unwrap_or(Duration::MAX));
        limit.is_some_and(|limit| self.started.elapsed() >= limit).then_some(Ending::TimeIsOver)
    }

    fn step(&mut self) -> Result<(), RunError> {
        self.context.control.status().begin_step();
        let batch =
            self.batches.next()?.expect("batches last to the end of the last epoch, and so does the loop");
        let outcome = self.compute(&batch)?;
        let examples = batch.examples.len();
        self.batches.recycle(batch);
        self.saved.batch += 1;
        if outcome.is_empty() {
            // Ignored labels, a mask or weights of 0 leave nothing to learn from: no step, and no sign of divergence.
            self.mark_whole();
            self.context.control.status().abandon_step();
            let (epoch, batch) = (self.saved.epoch, self.saved.batch - 1);
            log::debug!("batch {batch} of epoch {epoch} was passed over: nothing in it counts");
            return Ok(());
        }
        let rescaled = self.rescale(&outcome);
        if !outcome.applied {
            self.count_refused(&outcome, rescaled.as_ref());
            self.mark_whole();
            return self.record_refused(&outcome, rescaled);
        }
        self.saved.step += 1;
        self.saved.refused_in_a_row = 0;
        self.saved.epoch_loss_sum += f64::from(outcome.loss) * outcome.weight;
        self.saved.epoch_loss_weight += outcome.weight;
        self.mark_whole();
        self.journal_step(&outcome, examples)?;
        self.record_scale(rescaled)?;
        let progress = StepProgress {
            epoch: self.saved.epoch,
            epochs: self.prepared.plan.train.epochs,
            batches_done: self.saved.batch,
            batches: self.prepared.batches_per_epoch(),
            step: self.saved.step,
            loss: outcome.loss,
            lr: self.saved.last_lr,
            examples,
        };
        self.context.control.status().end_step(self.saved.step, Some(progress));
        self.context.observer.step(&progress);
        let by_signal = self.context.control.take_save_request();
        if by_signal {
            self.note_signal(Signal::User1.name())?;
            self.asked_save = Some(self.saved.step);
        }
        if by_signal || self.policy.is_due_after_step(self.saved.step, Instant::now()) {
            self.save(Kind::Step, self.saved.epoch)?;
        }
        Ok(())
    }

    /// Gradients of all parts of a batch, then the update.
    fn compute(&mut self, batch: &Batch) -> Result<StepOutcome, RunError> {
        let train = &self.prepared.plan.train;
        let clipping = Clipping { norm: train.clip_norm, value: train.clip_value };
        let ranges = parts(batch.examples.len(), self.prepared.batching.micro_batch);
        let seed = self.prepared.plan.seed;
        let ordinal = (self.saved.epoch - 1) * self.prepared.batches_per_epoch() + self.saved.batch;
        let engine = &mut self.prepared.engine;
        engine.set_loss_scale(self.saved.loss_scale.map_or(1.0, |state| state.scale));
        let names = &self.prepared.names;
        for (part, range) in ranges.iter().enumerate() {
            let mut mask = |node: usize, mask: &crate::graph::step::MaskFeed, memory: &mut [bool]| {
                fill_mask(seed, ordinal, part as u64, node as u64, mask.ratio, memory);
            };
            engine.draw(range.len(), &mut |node, draw, memory| {
                let place = ((part as u64) << 32) | node as u64;
                draw.distribution.fill(&mut stream(seed, Purpose::Draw, ordinal, place), memory);
            });
            let computed = if ranges.len() == 1 {
                engine.gradients(names, &batch.arrays, &mut mask)
            } else {
                engine.gradients(names, &take_part(&batch.arrays, range), &mut mask)
            };
            let kept =
                computed.and_then(|()| if part + 1 < ranges.len() { engine.accumulate() } else { Ok(()) });
            if let Err(error) = kept {
                engine.abandon();
                // The batch was not trained; the run can go on with it, now or in another process.
                self.batches = batches_from(self.prepared, &self.saved);
                return Err(error.into());
            }
        }
        let step = self.saved.step + 1;
        let lr = self.schedule.lr(step, self.saved.epoch, &self.saved.plateau);
        self.in_update = true;
        let committed = engine.commit(step, lr, clipping);
        // What it refuses, it leaves as it was.
        self.in_update = matches!(&committed, Ok(outcome) if outcome.applied);
        let outcome = committed?;
        if outcome.applied {
            self.saved.last_lr = lr;
        }
        Ok(outcome)
    }

    /// Records an applied step, or compares it with what the journal has recorded of it before.
    fn journal_step(&mut self, outcome: &StepOutcome, examples: usize) -> Result<(), RunError> {
        let step = self.saved.step;
        let recorded = self.context.recorded.remove(&step);
        let every = self.prepared.plan.checkpoint.digest_every_steps;
        let is_due = match &recorded {
            Some(recorded) => recorded.digest.is_some(),
            None => every > 0 && step.is_multiple_of(every),
        };
        let done = StepDone {
            step,
            epoch: self.saved.epoch,
            batch: self.saved.batch - 1,
            loss_bits: outcome.loss.to_bits(),
            lr: self.saved.last_lr,
            gradient_norm: outcome.gradient_norm,
            examples: examples as u64,
            digest: if is_due { Some(self.prepared.engine.parameter_digest()?) } else { None },
        };
        match recorded {
            Some(recorded) => match NotReproduced::of(&done, &recorded) {
                Some(what) => Err(RunError::NotReproduced { step, what }),
                None => Ok(()),
            },
            None => Ok(self.context.keeper.record(Event::StepDone(done))?),
        }
    }

    /// `saved` is that of the committed state.
    fn mark_whole(&mut self) {
        self.whole.clone_from(&self.saved);
        self.in_update = false;
        self.context.control.status().set_step(self.saved.step);
    }
}

fn is_cancelled(error: &RunError) -> bool {
    error.engine().is_some_and(|error| error.class == ErrorClass::Cancelled)
}
