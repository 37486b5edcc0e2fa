//! Readings of the clock and of memory, for those who look at the run: nothing that is trained depends on them.

use super::event::{Event, Sampled};
use super::outcome::RunError;
use super::run::Loop;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use trainer_runtime::memory::resident_bytes;

/// The least time between two readings while steps are computed.
const INTERVAL: Duration = Duration::from_secs(10);

/// A reading, after `step` updates.
#[must_use]
pub fn sampled(step: u64) -> Event {
    // A clock before 1970 tells no time.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Event::Sampled(Sampled { unix_ms, step, resident_bytes: resident_bytes(Path::new("/")).unwrap_or(0) })
}

impl Loop<'_, '_> {
    /// Records a reading and tells the observer that there is one.
    pub(super) fn sample(&mut self) -> Result<(), RunError> {
        self.sampled_at = Instant::now();
        self.context.keeper.record(sampled(self.saved.step))?;
        self.context.observer.sampled(&self.context.keeper.history);
        Ok(())
    }

    /// Records a reading between two steps, if the last one is long ago. The end of an epoch has one of its own.
    pub(super) fn sample_if_due(&mut self) -> Result<(), RunError> {
        let is_between_steps = self.saved.batch > 0 && self.saved.batch < self.prepared.batches_per_epoch();
        if is_between_steps && self.sampled_at.elapsed() >= INTERVAL { self.sample() } else { Ok(()) }
    }
}
