//! Checkpoints written on a thread of their own while the computation goes on.
//!
//! At most one is being written and at most one waits; a newer request takes the place of the waiting one. The snapshot
//! of a request is let go as soon as its bytes are written.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::checkpoint::{Name, PublishError, Receipt, Request, Store};

/// How a checkpoint ended: published, or why not.
pub type Outcome = Result<Receipt, PublishError>;

/// Writes checkpoints in the background.
///
/// Dropping it waits for what was submitted; outcomes that were not collected are logged.
#[derive(Debug)]
pub struct AsyncWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What became of the request that waited when another was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// None waited.
    Accepted,
    /// This one waited and will not be written: the newer one took its place.
    Replaced(Name),
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A request was submitted, or the writer is to end.
    submitted: Condvar,
    /// A request was finished.
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Option<Request>,
    in_flight: Option<Name>,
    outcomes: Vec<Outcome>,
    ending: bool,
}

impl AsyncWriter {
    /// Starts the thread that writes to this store.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn new(store: Store) -> io::Result<AsyncWriter> {
        let shared = Arc::new(Shared::default());
        let for_thread = shared.clone();
        let thread = thread::Builder::new()
            .name("checkpoint-writer".to_owned())
            .spawn(move || for_thread.run(|request| store.publish(request)))?;
        Ok(AsyncWriter { shared, thread: Some(thread) })
    }

    /// Hands over a checkpoint to be written and returns at once.
    pub fn submit(&self, request: Request) -> Submitted {
        let replaced = self.shared.lock().waiting.replace(request);
        self.shared.submitted.notify_one();
        // The replaced snapshot is let go here, outside of the lock.
        match replaced {
            Some(request) => Submitted::Replaced(request.name()),
            None => Submitted::Accepted,
        }
    }

    /// The checkpoints that have ended since the last call, in order. Returns at once.
    pub fn poll(&self) -> Vec<Outcome> {
        std::mem::take(&mut self.shared.lock().outcomes)
    }

    /// Whether nothing waits or is being written.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().is_idle()
    }

    /// Waits until everything submitted has ended, and returns what [`poll`](AsyncWriter::poll) would.
    pub fn flush(&self) -> Vec<Outcome> {
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
    fn run(&self, publish: impl Fn(Request) -> Outcome) {
        while let Some(request) = self.next() {
            let name = request.name();
            // The snapshot is the embedding program's code. Were its panic to end this thread, a flush would wait
            // for ever.
            let outcome = catch_unwind(AssertUnwindSafe(|| publish(request)))
                .unwrap_or(Err(PublishError::Panicked { name }));
            let mut state = self.lock();
            state.in_flight = None;
            state.outcomes.push(outcome);
            drop(state);
            self.finished.notify_all();
        }
    }

    fn next(&self) -> Option<Request> {
        let nothing_to_do = |state: &mut State| state.waiting.is_none() && !state.ending;
        let guard = self.submitted.wait_while(self.lock(), nothing_to_do);
        let mut state = guard.unwrap_or_else(PoisonError::into_inner);
        let request = state.waiting.take();
        state.in_flight = request.as_ref().map(Request::name);
        request
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use super::{AsyncWriter, Submitted};
    use crate::RunId;
    use crate::checkpoint::{Kind, Name, PublishError, Request, Snapshot, Store, TensorView};
    use crate::disk::fault::FaultDisk;
    use crate::disk::{Operation, RealDisk};

    struct Empty;

    impl Snapshot for Empty {
        fn tensors(&self) -> Vec<TensorView<'_>> {
            Vec::new()
        }
    }

    struct Panicking;

    impl Snapshot for Panicking {
        fn tensors(&self) -> Vec<TensorView<'_>> {
            panic!("the snapshot of a test panics")
        }
    }

    fn request(step: u64) -> Request {
        let snapshot = Arc::new(Empty);
        Request { kind: Kind::Step, run_id: RunId([1; 16]), epoch: 1, step, state: Vec::new(), snapshot }
    }

    fn name(step: u64) -> Name {
        request(step).name()
    }

    /// A writer whose every publication waits, after it has said so, until it may go on.
    fn held_writer(dir: &std::path::Path) -> (AsyncWriter, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let disk = FaultDisk::default();
        let store = Store::open(disk.shared(), dir).unwrap();
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let released = Mutex::new(released);
        disk.set_hook(move |operation, _| {
            if operation == Operation::Sync {
                entered.send(()).unwrap();
                released.lock().unwrap().recv().unwrap();
            }
            Ok(())
        });
        (AsyncWriter::new(store).unwrap(), has_entered, release)
    }

    #[test]
    fn a_newer_request_takes_the_place_of_the_waiting_one_and_not_of_the_one_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, has_entered, release) = held_writer(dir.path());
        assert_eq!(writer.submit(request(1)), Submitted::Accepted);
        has_entered.recv().unwrap();
        assert_eq!(writer.submit(request(2)), Submitted::Accepted);
        assert_eq!(writer.submit(request(3)), Submitted::Replaced(name(2)));
        assert!(!writer.is_idle() && writer.poll().is_empty());
        release.send(()).unwrap();
        release.send(()).unwrap();
        let published: Vec<_> = writer.flush().into_iter().map(|outcome| outcome.unwrap().name).collect();
        assert_eq!(published, [name(1), name(3)]);
        assert!(writer.is_idle() && writer.poll().is_empty());
    }

    #[test]
    fn the_state_is_let_go_when_it_is_written_and_not_only_when_it_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, has_entered, release) = held_writer(dir.path());
        let snapshot = Arc::new(Empty);
        writer.submit(Request { snapshot: snapshot.clone(), ..request(1) });
        has_entered.recv().unwrap();
        assert_eq!(Arc::strong_count(&snapshot), 1);
        release.send(()).unwrap();
        writer.flush();
    }

    #[test]
    fn an_error_is_kept_until_it_is_asked_for_and_the_next_checkpoint_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultDisk::default();
        let writer = AsyncWriter::new(Store::open(disk.shared(), dir.path()).unwrap()).unwrap();
        disk.fail(Operation::Sync, std::io::ErrorKind::StorageFull);
        writer.submit(request(1));
        let outcomes = writer.flush();
        assert!(matches!(&outcomes[..], [Err(PublishError::Disk { source, .. })] if source.is_full()));
        disk.heal();
        writer.submit(request(2));
        assert_eq!(writer.flush()[0].as_ref().unwrap().name, name(2));
    }

    #[test]
    fn a_snapshot_that_panics_is_an_error_and_does_not_end_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(RealDisk::shared(), dir.path()).unwrap();
        let writer = AsyncWriter::new(store).unwrap();
        writer.submit(Request { snapshot: Arc::new(Panicking), ..request(1) });
        assert!(
            matches!(&writer.flush()[..], [Err(PublishError::Panicked { name: failed })] if *failed == name(1))
        );
        writer.submit(request(2));
        assert!(writer.flush()[0].is_ok());
    }

    #[test]
    fn dropping_the_writer_finishes_what_was_submitted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(RealDisk::shared(), dir.path()).unwrap();
        let writer = AsyncWriter::new(store.clone()).unwrap();
        writer.submit(request(1));
        drop(writer);
        assert_eq!(store.list().unwrap().len(), 1);
    }
}
