//! Telling a run to an MLflow tracking server, <https://mlflow.org/docs/latest/rest-api.html>.
//!
//! What is sent is read from the journal, by a thread of its own that the loop knows nothing of: a server that is down, slow
//! or answers nonsense delays nothing, and what it missed is read and sent later, by this process or the next. `ledger` notes
//! in the work directory what has been sent, `unsent` finds what has not, `server` speaks to the server, `teller` does one
//! after the other.

mod address;
mod error;
mod ledger;
mod server;
mod teller;
mod unsent;

pub use error::TrackError;
pub use ledger::FILE_NAME;
pub use server::Server;
use teller::{Said, Teller};

use super::progress::Printer;
use super::recorded::Recorded;
use crate::config::MlflowPlan;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The environment variable of the server, as MLflow's own clients read it.
pub const URI_VARIABLE: &str = "MLFLOW_TRACKING_URI";

/// That of the experiment.
pub const EXPERIMENT_VARIABLE: &str = "MLFLOW_EXPERIMENT_NAME";

/// What a trial of a sweep is called in the tags of its run, so that other machines find it.
pub const TRIAL_VARIABLE: &str = "TRAINER_SWEEP_TRIAL";

/// The tag that holds it.
pub const TRIAL_TAG: &str = "trainer.sweep_trial";

/// What a trial is called by its sweep: its folder alone may be one of many with that name.
pub const TRIAL_NAME_VARIABLE: &str = "TRAINER_SWEEP_TRIAL_NAME";

/// Between two looks at the journal; more where reading it takes long.
const LOOK: Duration = Duration::from_secs(2);

/// After a failure the first pause, which is doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long the end of a process waits for the last message: if the run is finished, and if it was stopped and has to
/// leave, or the server does not answer anyway.
const LAST_WORDS: Duration = Duration::from_secs(30);
const FEW_WORDS: Duration = Duration::from_secs(5);

/// Where a run is told to: the settings, and below them the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address of the server, without a slash at its end.
    pub uri: String,
    /// The setting or the variable that names it.
    pub named_by: &'static str,
    /// The name of the experiment.
    pub experiment: String,
    /// What the run is called.
    pub run_name: Option<String>,
    /// Whether the trained model is sent.
    pub artifact: bool,
    /// The values of every so many steps are sent; 0 for none.
    pub every_steps: u64,
}

impl Target {
    /// `None` if nobody names a server.
    #[must_use]
    pub fn of(plan: &MlflowPlan) -> Option<Self> {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let named = plan.uri.clone().map(|uri| (uri, "mlflow.uri"));
        let (uri, named_by) = named.or_else(|| Some((variable(URI_VARIABLE)?, URI_VARIABLE)))?;
        let experiment = plan.experiment.clone().or_else(|| variable(EXPERIMENT_VARIABLE));
        Some(Self {
            uri: uri.trim_end_matches('/').to_owned(),
            named_by,
            experiment: experiment.unwrap_or_else(|| "Default".to_owned()),
            run_name: plan.run_name.clone(),
            artifact: plan.artifact,
            every_steps: plan.every_steps,
        })
    }

    /// Refuses what HTTP can not reach. MLflow's own clients take folders and databases as well.
    ///
    /// # Errors
    /// With [`TrackError::Address`].
    pub fn check(&self) -> Result<(), TrackError> {
        if address::is_address(&self.uri) {
            return Ok(());
        }
        Err(TrackError::Address { uri: address::shown(&self.uri), place: self.named_by })
    }
}

/// A run that is being told. When this is dropped, which is to be after the last record of the process, the rest is sent, as
/// far as the server takes it in time; what is left is said.
#[derive(Debug)]
pub struct Told {
    end: Option<Sender<Duration>>,
    ended: Receiver<()>,
    voice: Voice,
    work_dir: PathBuf,
    progress: Arc<Progress>,
    task: Task,
}

/// What a run is told for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// It goes on meanwhile.
    Run,
    /// Only what an earlier process left.
    CatchUp,
}

/// How far the thread has come, for the one that waits for it.
#[derive(Debug, Default)]
struct Progress {
    /// Grows by every message and every part of a model that the server takes.
    taken: AtomicU64,
    /// Whether the server did not take what was sent last.
    is_down: AtomicBool,
}

/// How the end of a process waits for the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Patience {
    /// For so long.
    left: Duration,
    /// And so long again as often as the server has taken something in this time.
    is_renewed: bool,
}

/// Where lines for people go.
#[derive(Debug, Clone)]
pub struct Voice {
    /// Prints them, from any thread.
    pub printer: Printer,
    /// Whether only those are wanted that somebody must read.
    pub is_quiet: bool,
}

impl Voice {
    fn info(&self, line: &str) {
        if !self.is_quiet {
            self.printer.line(line);
        }
    }

    fn warn(&self, line: &str) {
        self.printer.line(line);
    }

    fn say(&self, said: &Said) {
        said.news.iter().for_each(|line| self.info(line));
        said.warnings.iter().for_each(|line| self.warn(line));
    }
}

/// Tells the run in `work_dir`, whose lock the caller holds, from now on; `None` if nobody names a server. Lines for people
/// go to `voice`.
#[must_use]
pub fn tell(plan: &MlflowPlan, work_dir: &Path, voice: Voice) -> Option<Told> {
    start(plan, work_dir, voice, Task::Run)
}

fn start(plan: &MlflowPlan, work_dir: &Path, voice: Voice, task: Task) -> Option<Told> {
    let target = Target::of(plan)?;
    if let Err(error) = target.check() {
        voice.warn(&format!("MLflow is not told of this run: {error}"));
        return None;
    }
    let ((end, at_end), (done, ended)) = (channel(), channel());
    let mut teller = Teller::new(target, work_dir.to_owned());
    let progress = teller.progress();
    let own = voice.clone();
    let spawned = thread::Builder::new().name("mlflow".to_owned()).spawn(move || {
        follow(&mut teller, &at_end, &own);
        // Whoever waited may be gone.
        _ = done.send(());
    });
    if let Err(error) = spawned {
        voice.warn(&format!("MLflow is not told of this run: no thread could be started: {error}"));
        return None;
    }
    Some(Told { end: Some(end), ended, voice, work_dir: work_dir.to_owned(), progress, task })
}

/// Sends what an earlier process left unsent of the finished run in `work_dir`, if there is anything.
pub fn catch_up(plan: &MlflowPlan, work_dir: &Path, voice: Voice) {
    if Recorded::read(work_dir).is_ok_and(|recorded| has_unsent(plan, work_dir, &recorded)) {
        drop(start(plan, work_dir, voice, Task::CatchUp));
    }
}

/// Whether a server was not told all of the finished run in `work_dir`, whose journal is given. Nothing is asked of it.
#[must_use]
pub fn has_unsent(plan: &MlflowPlan, work_dir: &Path, recorded: &Recorded) -> bool {
    let target = Target::of(plan).filter(|target| target.check().is_ok());
    target.is_some_and(|target| Teller::new(target, work_dir.to_owned()).has_unsent(recorded))
}

/// Sends what there is, again and again, until the end is announced with the time that is left for it.
fn follow(teller: &mut Teller, at_end: &Receiver<Duration>, voice: &Voice) {
    let mut pause = FIRST_PAUSE;
    let mut is_down = false;
    loop {
        let since = Instant::now();
        let told = teller.tell();
        voice.say(&teller.take_said());
        teller.progress().is_down.store(told.is_err(), Ordering::Relaxed);
        let next = match &told {
            Ok(()) => {
                if std::mem::take(&mut is_down) {
                    voice.warn("MLflow answers again; what it missed was sent");
                }
                pause = FIRST_PAUSE;
                LOOK.max(since.elapsed() * 20)
            }
            Err(error) => {
                if !std::mem::replace(&mut is_down, true) {
                    voice.warn(&format!("{error}; training goes on, and what is missed is sent later"));
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                pause / 2
            }
        };
        match at_end.recv_timeout(next) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(left) => return end(teller, left, voice),
            // Dropped without a word: the process is in a hurry.
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The last message, tried until the time is over.
fn end(teller: &mut Teller, left: Duration, voice: &Voice) {
    let until = Instant::now() + left;
    loop {
        let told = teller.tell_end();
        voice.say(&teller.take_said());
        match told {
            Ok(()) => return,
            Err(error) if error.is_for_a_person() || Instant::now() + FIRST_PAUSE >= until => {
                let remedy = "`trainer run` sends the rest when it is started again";
                return voice.warn(&format!("{error}; {} is not sent yet: {remedy}", teller.unsent_words()));
            }
            Err(_) => thread::sleep(FIRST_PAUSE / 2),
        }
    }
}

impl Told {
    fn patience(&self) -> Patience {
        let is_finished = self.task == Task::CatchUp || teller::is_finished(&self.work_dir);
        let is_long = self.task == Task::Run && !self.progress.is_down.load(Ordering::Relaxed);
        let left = if is_finished && is_long { LAST_WORDS } else { FEW_WORDS };
        // One that was stopped has to leave, whatever the server takes.
        Patience { left, is_renewed: is_finished }
    }
}

impl Patience {
    /// Waits for the thread. Whether it came to its end.
    fn wait(self, ended: &Receiver<()>, progress: &Progress) -> bool {
        let mut taken = progress.taken.load(Ordering::Relaxed);
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(self.left) {
            let before = std::mem::replace(&mut taken, progress.taken.load(Ordering::Relaxed));
            if taken == before || !self.is_renewed {
                return false;
            }
        }
        true
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let patience = self.patience();
        if let Some(end) = self.end.take() {
            // A thread that is gone has said why.
            _ = end.send(patience.left);
        }
        if !patience.wait(&self.ended, &self.progress) {
            self.voice
                .warn("MLflow did not answer in time; `trainer run` sends the rest when it is started again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Patience, Progress};
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    /// Whether a thread is waited for that ends after ten times so long, and meanwhile takes something or not.
    fn is_waited_for(is_renewed: bool, takes: bool) -> bool {
        let (done, ended) = channel();
        let (progress, left) = (Progress::default(), Duration::from_millis(60));
        thread::scope(|scope| {
            let progress = &progress;
            scope.spawn(move || {
                for _ in 0..40 {
                    thread::sleep(left / 4);
                    progress.taken.fetch_add(u64::from(takes), Ordering::Relaxed);
                }
                _ = done.send(());
            });
            Patience { left, is_renewed }.wait(&ended, progress)
        })
    }

    #[test]
    fn a_server_that_takes_something_is_waited_for_unless_the_process_has_to_leave() {
        assert!(is_waited_for(true, true));
        assert!(!is_waited_for(true, false));
        assert!(!is_waited_for(false, true));
    }
}
