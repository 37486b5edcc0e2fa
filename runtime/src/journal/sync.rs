//! Making records durable, and remembering for ever when that failed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, mem};

use super::error::SyncError;
use crate::disk::{DiskError, DiskFile};

/// What the appending thread and the syncing thread share.
#[derive(Debug)]
pub(super) struct Syncer {
    state: Mutex<State>,
    /// Wakes the syncing thread: there is something to sync, or it is to end.
    wake: Condvar,
    /// Held during a sync and until its outcome is recorded. The system reports a failure to one caller only: without
    /// this, a second sync could succeed and be believed before the first one's failure is known.
    gate: Mutex<()>,
}

#[derive(Debug)]
struct State {
    file: Arc<dyn DiskFile>,
    /// The last record written to `file` or to a segment before it.
    written: u64,
    /// The last record known to be durable.
    durable: u64,
    failure: Option<Arc<DiskError>>,
    ending: bool,
}

impl Syncer {
    /// For a journal whose records up to `durable` are durable, and whose next ones go to `file`.
    pub(super) fn new(file: Arc<dyn DiskFile>, durable: u64) -> Syncer {
        let state = State { file, written: durable, durable, failure: None, ending: false };
        Syncer { state: Mutex::new(state), wake: Condvar::new(), gate: Mutex::new(()) }
    }

    /// The last record known to be durable.
    pub(super) fn durable(&self) -> u64 {
        self.lock().durable
    }

    /// The failure after which the journal takes no more records.
    pub(super) fn failure(&self) -> Option<Arc<DiskError>> {
        self.lock().failure.clone()
    }

    /// Notes that records up to `sequence` are written and wakes the syncing thread if it had nothing to do.
    pub(super) fn note_written(&self, sequence: u64) {
        let mut state = self.lock();
        let was_idle = mem::replace(&mut state.written, sequence) == state.durable;
        drop(state);
        if was_idle {
            self.wake.notify_one();
        }
    }

    /// Makes everything written so far durable. The file is not locked against appending meanwhile.
    pub(super) fn sync(&self) -> Result<(), SyncError> {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, written) = {
            let state = self.lock();
            if let Some(failure) = &state.failure {
                return Err(SyncError::Latched(failure.clone()));
            }
            if state.written == state.durable {
                return Ok(());
            }
            (state.file.clone(), state.written)
        };
        match file.sync_data() {
            Ok(()) => {
                let mut state = self.lock();
                state.durable = state.durable.max(written);
                Ok(())
            }
            Err(error) => Err(SyncError::Disk(self.latch(error))),
        }
    }

    /// Goes on in a new segment; everything in the old one must be durable.
    pub(super) fn replace_file(&self, file: Arc<dyn DiskFile>) {
        self.lock().file = file;
    }

    /// Remembers a failure: from now on the journal takes nothing. The first failure stays.
    pub(super) fn latch(&self, error: DiskError) -> Arc<DiskError> {
        self.lock().failure.get_or_insert(Arc::new(error)).clone()
    }

    /// Ends the syncing thread, which syncs once more.
    pub(super) fn end(&self) {
        self.lock().ending = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed in single assignments, so it is whole even if a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs at most once per interval, and only when there is something to sync.
    fn run(&self, interval: Duration) {
        loop {
            let idle = |state: &mut State| !state.ending && state.written == state.durable;
            let state = self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            // The first unsynced record starts the interval; later ones share its sync.
            let waited = self.wake.wait_timeout_while(state, interval, |state| !state.ending);
            let ending = waited.unwrap_or_else(PoisonError::into_inner).0.ending;
            // A failure is latched: the next append returns it.
            if self.sync().is_err() || ending {
                return;
            }
        }
    }
}

/// Starts the thread that syncs every `interval` until [`Syncer::end`].
pub(super) fn start_thread(syncer: Arc<Syncer>, interval: Duration) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("journal-sync".to_owned()).spawn(move || syncer.run(interval))
}
