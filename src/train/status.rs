//! Where a run is, for whoever asks from another thread: signals and the memory watch.

use super::observe::StepProgress;
use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Reading settings and taking the lock.
    #[default]
    Starting,
    /// Reading the journal and the checkpoints.
    Recovering,
    /// Finding, fetching or loading ONNX Runtime.
    LoadingLibrary,
    /// Reading data and model, building and compiling graphs.
    Building,
    /// Steps.
    Training,
    /// Loss and metrics on the validation data.
    Validating,
    /// Waiting until a checkpoint is durable.
    Saving,
    /// Writing the trained model.
    Exporting,
    /// Everything is done but what a tracking server was not told yet.
    Telling,
}

impl Phase {
    /// What it does, for "while ...".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Recovering => "reading what was saved",
            Self::LoadingLibrary => "fetching or loading ONNX Runtime",
            Self::Building => "reading data and building sessions",
            Self::Training => "training",
            Self::Validating => "validating",
            Self::Saving => "saving",
            Self::Exporting => "writing the trained model",
            Self::Telling => "sending the rest to MLflow",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// How much of a step's time comes from the newest one.
const NEWEST_SHARE: f64 = 0.2;

/// Where a run is. Copies stand for the same run.
#[derive(Debug, Clone)]
pub struct Status {
    // Held for a few assignments at a time and never while anything waits.
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    since: Instant,
    phase: Phase,
    phase_since: Instant,
    progress: Option<StepProgress>,
    /// Updates applied in the state.
    step: u64,
    step_began: Option<Instant>,
    /// A step's time, smoothed, in seconds.
    step_s: Option<f64>,
    save: Option<SaveTime>,
}

/// How long a save takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SaveTime {
    /// From the size of the state and the speed of the disk, in seconds.
    Estimated(f64),
    /// What the last save took, in seconds.
    Measured(f64),
}

impl SaveTime {
    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        match self {
            Self::Estimated(seconds) | Self::Measured(seconds) => seconds,
        }
    }
}

/// `last save took 1.8 s`, `a save takes about 1.8 s`.
impl fmt::Display for SaveTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured(seconds) => write!(f, "last save took {seconds:.1} s"),
            Self::Estimated(seconds) => write!(f, "a save takes about {seconds:.1} s"),
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        let now = Instant::now();
        let shared = Shared {
            since: now,
            phase: Phase::default(),
            phase_since: now,
            progress: None,
            step: 0,
            step_began: None,
            step_s: None,
            save: None,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // What is guarded is assigned field by field, each of which is whole at any time.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run does something else from here on.
    pub fn enter(&self, phase: Phase) {
        let mut shared = self.lock();
        if shared.phase != phase {
            (shared.phase, shared.phase_since) = (phase, Instant::now());
        }
    }

    /// What the run does.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// The state has so many updates.
    pub fn set_step(&self, step: u64) {
        self.lock().step = step;
    }

    /// Updates applied in the state.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.lock().step
    }

    /// A step begins.
    pub fn begin_step(&self) {
        let mut shared = self.lock();
        (shared.phase, shared.step_began) = (Phase::Training, Some(Instant::now()));
    }

    /// The step that was begun was committed, or left out.
    pub fn end_step(&self, step: u64, progress: Option<StepProgress>) {
        let mut shared = self.lock();
        shared.step = step;
        if let Some(took_s) = shared.step_began.take().map(|began| began.elapsed().as_secs_f64()) {
            shared.step_s = Some(shared.step_s.map_or(took_s, |s| s + NEWEST_SHARE * (took_s - s)));
        }
        shared.progress = progress.or(shared.progress);
    }

    /// The step that was begun came to nothing: it was cancelled, or it failed.
    pub fn abandon_step(&self) {
        self.lock().step_began = None;
    }

    /// How long a save takes.
    pub fn set_save_time(&self, time: SaveTime) {
        self.lock().save = Some(time);
    }

    /// How long a save takes, once that is known.
    #[must_use]
    pub fn save_time(&self) -> Option<SaveTime> {
        self.lock().save
    }

    /// How long the step in progress probably still takes: zero if none is in progress, `None` if nobody knows.
    #[must_use]
    pub fn step_left(&self) -> Option<Duration> {
        let shared = self.lock();
        let Some(began) = shared.step_began else { return Some(Duration::ZERO) };
        let whole = Duration::try_from_secs_f64(shared.step_s?).ok()?;
        Some(whole.saturating_sub(began.elapsed()))
    }

    /// The run in one line, `saved_step` being the last durable one.
    #[must_use]
    pub fn line(&self, saved_step: u64) -> String {
        let shared = self.lock();
        let mut line = format!("{} for {:.1} s", shared.phase, shared.phase_since.elapsed().as_secs_f64());
        if let Some(at) = &shared.progress {
            _ = write!(
                line,
                "; epoch {}/{}, batch {} of {}, step {}, loss {:.4}, lr {:.2e}",
                at.epoch, at.epochs, at.batches_done, at.batches, at.step, at.loss, at.lr
            );
        }
        if let Some(step_s) = shared.step_s.filter(|step_s| *step_s > 0.0) {
            _ = write!(line, ", {:.4} s per step", step_s);
        }
        match saved_step {
            0 => line.push_str("; no step is saved yet"),
            step => _ = write!(line, "; step {step} is saved"),
        }
        if let Some(save) = shared.save {
            _ = write!(line, " ({save})");
        }
        line + &format!("; {:.0} s in all", shared.since.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, SaveTime, Status};
    use std::time::Duration;

    #[test]
    fn the_rest_of_a_step_is_known_once_one_was_measured() {
        let status = Status::default();
        assert_eq!(status.step_left(), Some(Duration::ZERO));
        status.begin_step();
        assert_eq!(status.step_left(), None);
        std::thread::sleep(Duration::from_millis(20));
        status.end_step(1, None);
        status.begin_step();
        let left = status.step_left().unwrap();
        assert!(left > Duration::ZERO && left < Duration::from_secs(5), "{left:?}");
        status.abandon_step();
        assert_eq!(status.step_left(), Some(Duration::ZERO));
    }

    #[test]
    fn the_line_says_what_is_known_and_no_more() {
        let status = Status::default();
        let line = status.line(0);
        assert!(line.starts_with("starting for ") && line.contains("no step is saved yet"), "{line}");
        status.enter(Phase::Saving);
        status.set_save_time(SaveTime::Measured(1.82));
        let line = status.line(9);
        assert!(line.contains("step 9 is saved (last save took 1.8 s)"), "{line}");
    }
}
