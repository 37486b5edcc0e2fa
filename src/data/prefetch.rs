//! The batches of a run, one after another; a thread prepares the next ones while a step computes.
//!
//! What a batch holds follows from its epoch and index alone, so the thread can change when a batch is ready but never
//! what is in it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::batch::{Batch, BatchPlan};
use super::loader::{LoadError, Loader};
use super::order::Order;

/// Which examples form which batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// How an epoch is cut.
    pub plan: BatchPlan,
    /// The run's seed, where each epoch has an order of its own; `None` for the order of the file.
    pub shuffle_seed: Option<u64>,
}

impl Sampler {
    /// The order in which one epoch sees so many examples.
    fn order(&self, epoch: u64, examples: usize) -> Order {
        match self.shuffle_seed {
            Some(seed) => Order::shuffled(seed, epoch, examples),
            None => Order::sequential(examples),
        }
    }
}

/// A place in the run: the next batch to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Epoch, counted from 1.
    pub epoch: u64,
    /// Batch within the epoch, counted from 0. The number of batches means the start of the next epoch.
    pub batch: u64,
}

/// Who prepares batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefetch {
    /// The caller, when it asks for one.
    Off,
    /// A thread, so many batches ahead.
    Ahead(NonZeroUsize),
}

/// The batches from a place in the run to the end of an epoch. Dropping it ends the thread.
#[derive(Debug)]
pub struct Batches {
    source: Source,
    next: Cursor,
    last_epoch: u64,
    worker: Option<Worker>,
    spare: Option<Batch>,
}

impl Batches {
    /// The batches from `start` to the end of `last_epoch`, over the split that `loader` is bound to. `sampler` was
    /// made for the same number of examples.
    ///
    /// Where no thread can be started, batches are prepared without one, which is announced.
    #[must_use]
    pub fn start(
        loader: Loader,
        sampler: Sampler,
        start: Cursor,
        last_epoch: u64,
        prefetch: Prefetch,
    ) -> Self {
        debug_assert_eq!(loader.len(), sampler.plan.examples(), "the sampler belongs to another split");
        let source = Source::new(Arc::new(loader), sampler, start.epoch);
        let next = source.normalised(start);
        let worker = match prefetch {
            Prefetch::Ahead(depth) if next.epoch <= last_epoch => {
                Worker::start(source.clone(), next, last_epoch, depth)
            }
            _ => None,
        };
        Self { source, next, last_epoch, worker, spare: None }
    }

    /// The next batch, or `None` after the last.
    ///
    /// # Errors
    /// If the batch can not be filled; the same error comes again when it is asked for again.
    #[allow(clippy::should_implement_trait, reason = "an iterator could not take batches back")]
    pub fn next(&mut self) -> Result<Option<Batch>, LoadError> {
        if self.next.epoch > self.last_epoch {
            return Ok(None);
        }
        let batch = match &self.worker {
            Some(worker) => match worker.filled.recv() {
                Ok(filled) => filled,
                Err(_) => Err(LoadError::WorkerLost { epoch: self.next.epoch, batch: self.next.batch }),
            },
            None => self.source.fill(self.next, self.spare.take().unwrap_or_default()),
        };
        match batch {
            Ok(batch) => {
                self.next = self.source.after(self.next);
                Ok(Some(batch))
            }
            Err(error) => {
                // The thread has ended with its error; asking again finds it again without the thread.
                self.worker = None;
                Err(error)
            }
        }
    }

    /// Takes back a batch that is no longer needed, so that its memory serves a later one.
    pub fn recycle(&mut self, batch: Batch) {
        match &self.worker {
            // A thread that has ended needs no memory.
            Some(worker) => drop(worker.used.send(batch)),
            None => self.spare = Some(batch),
        }
    }

    /// The place of the batch that comes next.
    #[must_use]
    pub const fn position(&self) -> Cursor {
        self.next
    }
}

/// What turns a place in the run into a batch.
#[derive(Debug, Clone)]
struct Source {
    loader: Arc<Loader>,
    sampler: Sampler,
    /// The order of one epoch, kept because deriving it takes longer than using it.
    order: (u64, Order),
}

impl Source {
    fn new(loader: Arc<Loader>, sampler: Sampler, epoch: u64) -> Self {
        let order = (epoch, sampler.order(epoch, loader.len()));
        Self { loader, sampler, order }
    }

    fn normalised(&self, cursor: Cursor) -> Cursor {
        if cursor.batch < self.sampler.plan.batches() {
            cursor
        } else {
            Cursor { epoch: cursor.epoch.saturating_add(1), batch: 0 }
        }
    }

    fn after(&self, cursor: Cursor) -> Cursor {
        self.normalised(Cursor { epoch: cursor.epoch, batch: cursor.batch + 1 })
    }

    fn fill(&mut self, cursor: Cursor, mut batch: Batch) -> Result<Batch, LoadError> {
        if self.order.0 != cursor.epoch {
            self.order = (cursor.epoch, self.sampler.order(cursor.epoch, self.loader.len()));
        }
        (batch.epoch, batch.batch) = (cursor.epoch, cursor.batch);
        batch.examples.clear();
        let positions = self.sampler.plan.range(cursor.batch);
        batch.examples.extend(positions.filter_map(|position| self.order.1.at(position)));
        self.loader.load(cursor.epoch, &batch.examples, &mut batch.arrays)?;
        Ok(batch)
    }
}

/// The thread and the two ways of its batches: filled ones come, used ones go back.
#[derive(Debug)]
struct Worker {
    filled: Receiver<Result<Batch, LoadError>>,
    used: Sender<Batch>,
    // Fields are dropped in this order: with the receiver gone the thread ends, and only then is it waited for.
    _thread: Joined,
}

impl Worker {
    fn start(source: Source, start: Cursor, last_epoch: u64, depth: NonZeroUsize) -> Option<Self> {
        let (filled_sender, filled) = sync_channel(depth.get());
        let (used, used_receiver) = channel();
        let work = move || prepare(source, start, last_epoch, &filled_sender, &used_receiver);
        match Builder::new().name("prefetch".to_owned()).spawn(work) {
            Ok(thread) => Some(Self { filled, used, _thread: Joined(Some(thread)) }),
            Err(error) => {
                log::warn!(
                    "can not start the prefetch thread ({error}); batches are prepared between the steps"
                );
                None
            }
        }
    }
}

fn prepare(
    mut source: Source,
    start: Cursor,
    last_epoch: u64,
    filled: &SyncSender<Result<Batch, LoadError>>,
    used: &Receiver<Batch>,
) {
    let mut next = start;
    while next.epoch <= last_epoch {
        let batch = source.fill(next, used.try_recv().unwrap_or_default());
        let failed = batch.is_err();
        if filled.send(batch).is_err() || failed {
            return;
        }
        next = source.after(next);
    }
}

/// A thread that is waited for when this is dropped.
#[derive(Debug)]
struct Joined(Option<JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        // A panic of the thread has shown itself as a missing batch.
        drop(self.0.take().map(JoinHandle::join));
    }
}

#[cfg(test)]
mod tests;
