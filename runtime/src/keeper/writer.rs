//! Checkpoints written on a thread of their own while the computation goes on.
//!
//! At most one is being written and at most one waits; a newer one takes the place of the waiting one, unless that is
//! the best so far and the newer is not. The snapshot of a request is let go as soon as its bytes are written.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::{KeepError, Rank, Save};
use crate::checkpoint::{Name, PublishError, Receipt};

/// How a checkpoint ended: published, or why not.
pub(super) type Outcome = Result<Receipt, KeepError>;

/// Writes checkpoints in the background.
///
/// Dropping it waits for what was submitted; outcomes that were not collected are logged.
#[derive(Debug)]
pub(super) struct AsyncWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What became of checkpoints when another was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It is written next, and none gave way to it.
    Accepted,
    /// It is written next; this one waited and will not be written.
    Replaced(Name),
    /// It will not be written: the best so far waits, and this one is not.
    Declined,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A save was submitted, or the writer is to end.
    submitted: Condvar,
    /// A save was finished.
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Option<Save>,
    in_flight: Option<Name>,
    outcomes: Vec<Outcome>,
    ending: bool,
}

impl AsyncWriter {
    /// Starts the thread that keeps each checkpoint with `keep`.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub(super) fn new(keep: impl Fn(Save) -> Outcome + Send + 'static) -> io::Result<AsyncWriter> {
        let shared = Arc::new(Shared::default());
        let for_thread = shared.clone();
        let thread = thread::Builder::new()
            .name("checkpoint-writer".to_owned())
            .spawn(move || for_thread.run(keep))?;
        Ok(AsyncWriter { shared, thread: Some(thread) })
    }

    /// Hands over a checkpoint to be written and returns at once.
    pub(super) fn submit(&self, save: Save) -> Submitted {
        let replaced = {
            let mut state = self.shared.lock();
            let best_waits = state.waiting.as_ref().is_some_and(|waiting| waiting.rank == Rank::Best);
            if best_waits && save.rank != Rank::Best {
                return Submitted::Declined;
            }
            state.waiting.replace(save)
        };
        self.shared.submitted.notify_one();
        // The replaced snapshot is let go here, outside of the lock.
        match replaced {
            Some(save) => Submitted::Replaced(save.name()),
            None => Submitted::Accepted,
        }
    }

    /// The checkpoints that have ended since the last call, in order. Returns at once.
    pub(super) fn poll(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.shared.lock().outcomes)
    }

    /// Waits until everything submitted has ended, and returns what [`poll`](AsyncWriter::poll) would.
    pub(super) fn flush(&self) -> Vec<Outcome> {
        let busy = |state: &mut State| !state.is_idle();
        let guard = self.shared.finished.wait_while(self.shared.lock(), busy);
        std::mem::take(&mut guard.unwrap_or_else(PoisonError::into_inner).outcomes)
    }
}

impl Drop for AsyncWriter {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.submitted.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that writes checkpoints panicked");
        }
        for outcome in self.poll() {
            match outcome {
                Ok(receipt) => log::info!("checkpoint {} was published", receipt.name),
                Err(error) => log::error!("{error}"),
            }
        }
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_none() && self.in_flight.is_none()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so what a poisoned one guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is submitted until the writer ends and nothing waits.
    fn run(&self, keep: impl Fn(Save) -> Outcome) {
        while let Some(save) = self.next() {
            let name = save.name();
            // The snapshot is the embedding program's code. Were its panic to end this thread, a flush would wait
            // for ever.
            let outcome = catch_unwind(AssertUnwindSafe(|| keep(save)))
                .unwrap_or(Err(KeepError::Publish(PublishError::Panicked { name })));
            let mut state = self.lock();
            state.in_flight = None;
            state.outcomes.push(outcome);
            drop(state);
            self.finished.notify_all();
        }
    }

    fn next(&self) -> Option<Save> {
        let nothing_to_do = |state: &mut State| state.waiting.is_none() && !state.ending;
        let guard = self.submitted.wait_while(self.lock(), nothing_to_do);
        let mut state = guard.unwrap_or_else(PoisonError::into_inner);
        let save = state.waiting.take();
        state.in_flight = save.as_ref().map(Save::name);
        save
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use super::{AsyncWriter, Outcome, Submitted};
    use crate::checkpoint::{Kind, Name, PublishError, Receipt, Snapshot, TensorView};
    use crate::keeper::{KeepError, Rank, Save};

    struct Empty;

    impl Snapshot for Empty {
        fn tensors(&self) -> Vec<TensorView<'_>> {
            Vec::new()
        }
    }

    fn save(step: u64, rank: Rank) -> Save {
        Save { kind: Kind::Step, rank, epoch: 1, step, state: Vec::new(), snapshot: Arc::new(Empty) }
    }

    fn ordinary(step: u64) -> Save {
        save(step, Rank::Ordinary)
    }

    fn receipt(name: Name) -> Receipt {
        Receipt { name, len_bytes: 0, digest: [0; 16], seconds: 0.0 }
    }

    /// A writer whose every checkpoint waits, after it has said so, until it may end.
    fn held_writer() -> (AsyncWriter, mpsc::Receiver<Name>, mpsc::Sender<()>) {
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let released = Mutex::new(released);
        let keep = move |save: Save| {
            entered.send(save.name()).unwrap();
            released.lock().unwrap().recv().unwrap();
            Ok(receipt(save.name()))
        };
        (AsyncWriter::new(keep).unwrap(), has_entered, release)
    }

    fn names(outcomes: Vec<Outcome>) -> Vec<Name> {
        outcomes.into_iter().map(|outcome| outcome.unwrap().name).collect()
    }

    #[test]
    fn a_newer_one_takes_the_place_of_the_waiting_one_and_not_of_the_one_in_flight() {
        let (writer, has_entered, release) = held_writer();
        assert_eq!(writer.submit(ordinary(1)), Submitted::Accepted);
        has_entered.recv().unwrap();
        assert_eq!(writer.submit(ordinary(2)), Submitted::Accepted);
        assert_eq!(writer.submit(ordinary(3)), Submitted::Replaced(ordinary(2).name()));
        assert!(writer.poll().is_empty());
        release.send(()).unwrap();
        release.send(()).unwrap();
        assert_eq!(names(writer.flush()), [1, 3].map(|step| ordinary(step).name()));
        assert!(writer.poll().is_empty());
    }

    #[test]
    fn the_best_that_waits_gives_way_to_a_better_one_only() {
        let (writer, has_entered, release) = held_writer();
        writer.submit(ordinary(1));
        has_entered.recv().unwrap();
        writer.submit(save(2, Rank::Best));
        assert_eq!(writer.submit(ordinary(3)), Submitted::Declined);
        assert_eq!(writer.submit(save(4, Rank::Best)), Submitted::Replaced(ordinary(2).name()));
        release.send(()).unwrap();
        release.send(()).unwrap();
        assert_eq!(names(writer.flush()), [1, 4].map(|step| ordinary(step).name()));
    }

    #[test]
    fn a_snapshot_that_panics_is_an_error_and_does_not_end_the_writer() {
        let keep = |save: Save| {
            assert!(save.step != 1, "the snapshot of a test panics");
            Ok(receipt(save.name()))
        };
        let writer = AsyncWriter::new(keep).unwrap();
        writer.submit(ordinary(1));
        let outcomes = writer.flush();
        let [Err(KeepError::Publish(PublishError::Panicked { name }))] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert_eq!(*name, ordinary(1).name());
        writer.submit(ordinary(2));
        assert!(writer.flush()[0].is_ok());
    }

    #[test]
    fn dropping_the_writer_finishes_what_was_submitted() {
        let (ended, has_ended) = mpsc::channel();
        let keep = move |save: Save| {
            ended.send(save.step).unwrap();
            Ok(receipt(save.name()))
        };
        let writer = AsyncWriter::new(keep).unwrap();
        writer.submit(ordinary(1));
        drop(writer);
        assert_eq!(has_ended.iter().collect::<Vec<_>>(), [1]);
    }
}
