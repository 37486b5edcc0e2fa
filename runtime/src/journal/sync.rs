//! What appending and syncing share: making records durable, and going on or ending when that fails.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::appender::{Appender, Mark, StartError};
use super::error::{AppendError, SyncError};
use super::failover::Failover;
use crate::disk::DiskError;
use crate::mutant;

/// What the appending thread, the syncing thread and the holders of a [`SyncHandle`] share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the syncing thread: there is something to sync, or it is to end.
    wake: Condvar,
    /// Held during a sync and until its outcome is recorded. The system reports a failure to one caller only: without
    /// this, a second sync could succeed and be believed before the first one's failure is known.
    gate: Mutex<()>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) appender: Appender,
    pub(super) failure: Option<Arc<DiskError>>,
    pub(super) failovers: Vec<Failover>,
    ending: bool,
}

impl State {
    /// Whether something is written that is not known to be durable, and can become so.
    fn has_work(&self) -> bool {
        self.failure.is_none() && !self.appender.pending.is_empty()
    }

    /// Appends records; those before are all written, and the limits on them are kept.
    pub(super) fn append(&mut self, records: &[(u16, &[u8])], batch_bytes: u64) -> Result<(), AppendError> {
        if let Err(error) = self.appender.reserve(batch_bytes) {
            if error.is_full() {
                return Err(AppendError::NoSpace(error));
            }
            self.fail_over(error).map_err(AppendError::Disk)?;
        }
        let before = self.appender.mark();
        if let Err(error) = self.appender.write(records) {
            // The new segment has these records, too.
            self.fail_over(error).map_err(|cause| {
                self.appender.forget_after(before);
                AppendError::Disk(cause)
            })?;
        }
        Ok(())
    }

    /// Goes on in an empty segment, where everything is durable. A failure is final: the segment that there is can not be
    /// gone on with, for perhaps a new one already has its name, and then that one counts.
    pub(super) fn rotate(&mut self) -> Result<(), AppendError> {
        self.appender.start_segment().map(drop).map_err(|error| match error {
            StartError::Random(source) => AppendError::Random(source),
            StartError::Disk(error) => AppendError::Disk(self.failure.get_or_insert(Arc::new(error)).clone()),
        })
    }

    /// Leaves a segment whose write or sync failed and goes on in a new one, which holds everything that is not known
    /// to be durable. If that fails too, the failure stays and is returned.
    fn fail_over(&mut self, cause: DiskError) -> Result<(), Arc<DiskError>> {
        let cause = Arc::new(cause);
        self.start_segment(&cause).inspect_err(|_| self.failure = Some(cause.clone())).map_err(|second| {
            log::warn!("the journal could not go on in a new segment: {second}");
            cause.clone()
        })
    }

    /// Goes on in a new segment because of this failure.
    fn start_segment(&mut self, cause: &Arc<DiskError>) -> Result<(), StartError> {
        let from = self.appender.segment.path.clone();
        let records = self.appender.start_segment()?;
        self.failovers.push(Failover {
            cause: cause.clone(),
            from,
            to: self.appender.segment.path.clone(),
            last_sequence: self.appender.end.sequence,
            records,
        });
        Ok(())
    }
}

impl Shared {
    pub(super) fn new(appender: Appender) -> Shared {
        let state = State { appender, failure: None, failovers: Vec::new(), ending: false };
        Shared { state: Mutex::new(state), wake: Condvar::new(), gate: Mutex::new(()) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock, so what a poisoned one guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the syncing thread, if it sleeps for want of work.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Makes everything up to this record durable, if it is not. Appending goes on meanwhile.
    pub(super) fn sync_up_to(&self, sequence: u64) -> Result<(), SyncError> {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (file, number, mark) = {
                let state = self.lock();
                if state.appender.durable.sequence >= sequence {
                    return Ok(());
                }
                if let Some(failure) = &state.failure {
                    return Err(SyncError::Latched(failure.clone()));
                }
                let segment = &state.appender.segment;
                (segment.file.clone(), segment.number, state.appender.mark())
            };
            let outcome = mutant::unless("journal-sync", || file.sync_data());
            let mut state = self.lock();
            // A write failed meanwhile, and the journal went on in another segment, or nowhere: what became of the one
            // that was left means nothing.
            if state.appender.segment.number != number || state.failure.is_some() {
                continue;
            }
            match outcome {
                Ok(()) => state.appender.note_durable(mark),
                Err(_) if mutant::is("journal-failed-sync-repeated") => {}
                Err(error) => state.fail_over(error).map_err(SyncError::Disk)?,
            }
        }
    }

    /// Takes back an append that could not be made durable as promised, after the failure is final.
    pub(super) fn forget_after(&self, mark: Mark) {
        self.lock().appender.forget_after(mark);
    }

    /// Tries once more to go on in a new segment after a failure was final.
    pub(super) fn try_again(&self) -> Result<(), SyncError> {
        let mut state = self.lock();
        let Some(failure) = state.failure.clone() else { return Ok(()) };
        if let Err(second) = state.start_segment(&failure) {
            log::warn!("the journal could not go on in a new segment: {second}");
            return Err(SyncError::Latched(failure));
        }
        state.failure = None;
        Ok(())
    }

    /// Ends the syncing thread, which syncs once more.
    pub(super) fn end(&self) {
        self.lock().ending = true;
        self.wake.notify_one();
    }

    /// Syncs at most once per interval, and only when there is something to sync.
    fn run(&self, interval: Duration) {
        loop {
            let idle = |state: &mut State| !state.ending && !state.has_work();
            let state = self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            // The first unsynced record starts the interval; later ones share its sync.
            let waited = self.wake.wait_timeout_while(state, interval, |state| !state.ending);
            let state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let (ending, last) = (state.ending, state.appender.end.sequence);
            drop(state);
            // A failure that is final is kept: the next append returns it, and until it is overcome there is no work.
            let _ = self.sync_up_to(last);
            if ending {
                return;
            }
        }
    }
}

/// Starts the thread that syncs every `interval` until [`Shared::end`].
pub(super) fn start_thread(shared: Arc<Shared>, interval: Duration) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("journal-sync".to_owned()).spawn(move || shared.run(interval))
}

/// A way to make the records up to a certain one durable, on any thread, while appending goes on: for whoever must not
/// act before they are, such as a thread that publishes a checkpoint.
#[derive(Debug, Clone)]
pub struct SyncHandle {
    shared: Arc<Shared>,
    sequence: u64,
}

impl SyncHandle {
    pub(super) fn new(shared: Arc<Shared>, sequence: u64) -> SyncHandle {
        SyncHandle { shared, sequence }
    }

    /// The last record that [`wait`](SyncHandle::wait) makes durable.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether it is durable already.
    pub fn is_durable(&self) -> bool {
        self.shared.lock().appender.durable.sequence >= self.sequence
    }

    /// Returns when the record and all before it are durable; syncs on this thread what nobody has synced yet. A sync
    /// that fails makes the journal go on in a new segment, as everywhere.
    ///
    /// # Errors
    /// If they are not durable and can not be made so, now or since an earlier failure.
    pub fn wait(&self) -> Result<(), SyncError> {
        self.shared.sync_up_to(self.sequence)
    }
}
