//! Telling a run to an MLflow tracking server, <https://mlflow.org/docs/latest/rest-api.html>.
//!
//! What is sent is read from the journal, by a thread of its own that the loop knows nothing of: a server that is down, slow
//! or answers nonsense delays nothing, and what it missed is read and sent later, by this process or the next. `ledger` notes
//! in the work directory what has been sent, `unsent` finds what has not, `server` speaks to the server, `teller` does one
//! after the other.

mod ledger;
mod server;
mod teller;
mod unsent;

pub use ledger::FILE_NAME;
pub use server::{Server, TrackError};
use teller::Teller;

use super::progress::Printer;
use crate::config::MlflowPlan;
use std::path::{Path, PathBuf};
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

/// Between two looks at the journal; more where reading it takes long.
const LOOK: Duration = Duration::from_secs(2);

/// After a failure the first pause, which is doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long the end of a process waits for the last message: if the run is finished, and if it was stopped and has to
/// leave.
const LAST_WORDS: Duration = Duration::from_secs(30);
const LAST_WORDS_STOPPED: Duration = Duration::from_secs(5);

/// Where a run is told to: the settings, and below them the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address of the server, without a slash at its end.
    pub uri: String,
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
        let uri = plan.uri.clone().or_else(|| variable(URI_VARIABLE))?;
        let experiment = plan.experiment.clone().or_else(|| variable(EXPERIMENT_VARIABLE));
        Some(Self {
            uri: uri.trim_end_matches('/').to_owned(),
            experiment: experiment.unwrap_or_else(|| "Default".to_owned()),
            run_name: plan.run_name.clone(),
            artifact: plan.artifact,
            every_steps: plan.every_steps,
        })
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
}

/// Tells the run in `work_dir`, whose lock the caller holds, from now on; `None` if nobody names a server. Lines for people
/// go to `voice`.
#[must_use]
pub fn tell(plan: &MlflowPlan, work_dir: &Path, voice: Voice) -> Option<Told> {
    let target = Target::of(plan)?;
    let ((end, at_end), (done, ended)) = (channel(), channel());
    let mut teller = Teller::new(target, work_dir.to_owned());
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
    Some(Told { end: Some(end), ended, voice, work_dir: work_dir.to_owned() })
}

/// Sends what an earlier process left unsent of the finished run in `work_dir`, if there is anything.
pub fn catch_up(plan: &MlflowPlan, work_dir: &Path, voice: Voice) {
    let is_open =
        Target::of(plan).is_some_and(|target| Teller::new(target, work_dir.to_owned()).has_unsent());
    if is_open {
        drop(tell(plan, work_dir, voice));
    }
}

/// Sends what there is, again and again, until the end is announced with the time that is left for it.
fn follow(teller: &mut Teller, at_end: &Receiver<Duration>, voice: &Voice) {
    let mut pause = FIRST_PAUSE;
    let mut is_down = false;
    loop {
        let since = Instant::now();
        let told = teller.tell();
        let next = match &told {
            Ok(notice) => {
                notice.iter().for_each(|line| voice.info(line));
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
        match teller.tell_end() {
            Ok(notice) => return notice.iter().for_each(|line| voice.info(line)),
            Err(error) if Instant::now() + FIRST_PAUSE >= until => {
                let remedy = "`trainer run` sends the rest when it is started again";
                return voice.warn(&format!("{error}; {} is not sent yet: {remedy}", teller.unsent_words()));
            }
            Err(_) => thread::sleep(FIRST_PAUSE / 2),
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let left = if teller::is_finished(&self.work_dir) { LAST_WORDS } else { LAST_WORDS_STOPPED };
        if let Some(end) = self.end.take() {
            // A thread that is gone has said why.
            _ = end.send(left);
        }
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(left) {
            self.voice
                .warn("MLflow did not answer in time; `trainer run` sends the rest when it is started again");
        }
    }
}
