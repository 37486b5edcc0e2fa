//! A panic, on whichever thread: the last committed state is made durable before the process ends.

use super::outcome::{Ending, RunError};
use super::run::Loop;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

/// The first panic of a thread that was not the one that trains.
static ELSEWHERE: Mutex<Option<String>> = Mutex::new(None);

/// The thread that trains, once there is one.
static TRAINING: OnceLock<ThreadId> = OnceLock::new();

/// From here on a panic of another thread is remembered, besides being printed as before.
fn remember_panics() {
    if TRAINING.set(thread::current().id()).is_err() {
        return;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        if TRAINING.get() != Some(&thread::current().id()) {
            let name = thread::current().name().unwrap_or("without a name").to_owned();
            let message = format!("thread `{name}`: {}", words(info.payload()));
            ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
        }
    }));
}

fn words(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

impl Loop<'_, '_> {
    /// Trains; a panic on the way, here or on another thread, is an error like others: the state is saved before.
    pub(super) fn run_guarded(mut self) -> Result<Ending, RunError> {
        remember_panics();
        match catch_unwind(AssertUnwindSafe(|| self.run())) {
            Ok(ended) => ended,
            Err(payload) => {
                let message = words(&*payload).to_owned();
                Err(self.save_after_panic(message))
            }
        }
    }

    /// The panic of another thread, if there was one, as an error.
    pub(super) fn check_other_threads(&mut self) -> Result<(), RunError> {
        let found = ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).take();
        found.map_or(Ok(()), |message| Err(self.save_before(RunError::Panicked { message })))
    }

    fn save_after_panic(&mut self, message: String) -> RunError {
        let error = RunError::Panicked { message };
        if self.in_update {
            log::error!("the panic came in the middle of an update: the state is not whole and is not saved");
            return error;
        }
        self.saved = self.whole.clone();
        // The code that saves, or that tells of it, may be what panicked.
        let saved = catch_unwind(AssertUnwindSafe(|| self.save_before(error)));
        saved.unwrap_or_else(|payload| {
            log::error!("saving after the panic panicked as well: {}", words(&*payload));
            RunError::Panicked { message: words(&*payload).to_owned() }
        })
    }
}
