//! One pass over the journal: what was not sent is sent, in its order, and noted in the ledger.

use super::address::shown;
use super::error::TrackError;
use super::ledger::{FILE_NAME, Ledger};
use super::server::Server;
use super::unsent::{
    MOST_PARAMS, Moment, final_status, follow_resets, last_told, metrics, next, params, span_ms,
};
use super::{Progress, TRIAL_NAME_VARIABLE, TRIAL_TAG, TRIAL_VARIABLE, Target};
use crate::report::recorded::Recorded;
use crate::train::event::Event;
use crate::train::export;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// The tag by which a run is found again.
const RUN_TAG: &str = "trainer.run_id";

/// Whoever tells a server of the run in a work directory.
#[derive(Debug)]
pub(super) struct Teller {
    target: Target,
    work_dir: PathBuf,
    server: Server,
    ledger: Option<Ledger>,
    has_announced: bool,
    has_left_out: bool,
    progress: Arc<Progress>,
    said: Said,
}

/// What a person should know of what was told.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// What is as it should be.
    pub(super) news: Vec<String>,
    /// What is not.
    pub(super) warnings: Vec<String>,
}

/// Whether the run in a work directory is over.
pub(super) fn is_finished(work_dir: &Path) -> bool {
    Recorded::read(work_dir).is_ok_and(|recorded| recorded.history.finished.is_some())
}

impl Teller {
    pub(super) fn new(target: Target, work_dir: PathBuf) -> Self {
        let server = Server::new(&target.uri);
        let progress = Arc::new(Progress::default());
        let (has_announced, has_left_out, said) = (false, false, Said::default());
        Self { target, work_dir, server, ledger: None, has_announced, has_left_out, progress, said }
    }

    /// How far this one has come, for another thread that waits for it.
    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// What a person should know of what was told since the last call.
    pub(super) fn take_said(&mut self) -> Said {
        std::mem::take(&mut self.said)
    }

    /// Tells what has happened, of a run that goes on.
    pub(super) fn tell(&mut self) -> Result<(), TrackError> {
        let Some(recorded) = self.recorded()? else { return Ok(()) };
        self.with_run(&recorded, |teller| teller.tell_up_to(&recorded, Moment::AtWork).map(drop))
    }

    /// Tells the rest, of a run whose process ends.
    pub(super) fn tell_end(&mut self) -> Result<(), TrackError> {
        let Some(recorded) = self.recorded()? else { return Ok(()) };
        self.with_run(&recorded, |teller| {
            let run_id = teller.tell_up_to(&recorded, Moment::Over)?;
            teller.tell_model(&recorded)?;
            let ended_ms = span_ms(&recorded.history).map_or_else(now_ms, |(_, ended_ms)| ended_ms);
            teller.set_status(&run_id, final_status(&recorded.history), Some(ended_ms))
        })
    }

    /// Tells something, and if the server has lost the run that was noted, all of it to a new one.
    fn with_run(
        &mut self,
        recorded: &Recorded,
        tell: impl Fn(&mut Self) -> Result<(), TrackError>,
    ) -> Result<(), TrackError> {
        match tell(self) {
            Err(gone @ TrackError::Gone { .. }) => {
                self.said.warnings.push(gone.to_string());
                self.has_announced = false;
                self.ledger = Some(Ledger::new(&self.target.uri, &recorded.run_id.to_string()));
                tell(self)
            }
            other => other,
        }
    }

    /// Whether a finished run has something that was not sent.
    pub(super) fn has_unsent(&mut self, recorded: &Recorded) -> bool {
        let (every_steps, history) = (self.target.every_steps, &recorded.history);
        let Ok(ledger) = self.ledger(recorded) else { return false };
        let mut ledger = ledger.clone();
        follow_resets(&mut ledger, &recorded.events, history);
        // A run that went on after its end may have told nothing of that.
        ledger.status.as_deref() != Some(final_status(history))
            || next(&ledger, history, every_steps, last_told(history, Moment::Over), 0).is_some()
    }

    /// What is left, in words.
    pub(super) fn unsent_words(&mut self) -> String {
        let every_steps = self.target.every_steps;
        let Ok(Some(recorded)) = self.recorded() else { return "the end of the run".to_owned() };
        let Ok(ledger) = self.ledger(&recorded) else { return "the run".to_owned() };
        let (mut ledger, mut count) = (ledger.clone(), 0);
        let last = last_told(&recorded.history, Moment::Over);
        while let Some(pending) = next(&ledger, &recorded.history, every_steps, last, 0) {
            count += metrics(&ledger, pending, &recorded.history, every_steps).len();
            (ledger.epoch, ledger.step, ledger.pending) = (pending.epoch, pending.step, None);
        }
        format!("its end, with {count} values of metrics,")
    }

    fn recorded(&self) -> Result<Option<Recorded>, TrackError> {
        use crate::report::recorded::ReadError;
        match Recorded::read(&self.work_dir) {
            // A run that has not begun has nothing to tell.
            Ok(recorded) => Ok(recorded.history.settings.is_some().then_some(recorded)),
            Err(ReadError::NoRun { .. }) => Ok(None),
            Err(error) => Err(TrackError::Local { path: self.work_dir.clone(), reason: error.to_string() }),
        }
    }

    fn ledger(&mut self, recorded: &Recorded) -> Result<&mut Ledger, TrackError> {
        let ledger = match self.ledger.take() {
            Some(ledger) => ledger,
            None => {
                let run_id = recorded.run_id.to_string();
                Ledger::read(&self.work_dir, &self.target.uri, &run_id).map_err(|error| {
                    TrackError::Local { path: self.work_dir.join(FILE_NAME), reason: error.to_string() }
                })?
            }
        };
        Ok(self.ledger.insert(ledger))
    }

    /// Changes the ledger, durably.
    fn note(&mut self, change: impl FnOnce(&mut Ledger)) -> Result<(), TrackError> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        change(ledger);
        ledger.write(&self.work_dir).map_err(|error| TrackError::Local {
            path: self.work_dir.join(FILE_NAME),
            reason: error.to_string(),
        })
    }

    /// Tells everything up to a moment but the model and the end. Gives the run on the server.
    fn tell_up_to(&mut self, recorded: &Recorded, moment: Moment) -> Result<String, TrackError> {
        follow_resets(self.ledger(recorded)?, &recorded.events, &recorded.history);
        let run_id = self.run(recorded)?;
        self.set_status(&run_id, "RUNNING", None)?;
        self.tell_params(recorded, &run_id)?;
        self.tell_metrics(recorded, &run_id, moment)?;
        if !std::mem::replace(&mut self.has_announced, true) {
            let Target { uri, experiment, .. } = &self.target;
            self.said.news.push(format!("MLflow: run {run_id} of experiment {experiment} at {}", shown(uri)));
        }
        Ok(run_id)
    }

    fn tell_metrics(&mut self, recorded: &Recorded, run_id: &str, moment: Moment) -> Result<(), TrackError> {
        let (every_steps, history) = (self.target.every_steps, &recorded.history);
        let last = last_told(history, moment);
        while let Some(ledger) = &self.ledger
            && let Some(pending) = next(ledger, history, every_steps, last, now_ms())
        {
            let metrics = metrics(ledger, pending, history, every_steps);
            // What is noted before is sent again as it was, and the server knows that it has it.
            self.note(|ledger| ledger.pending = Some(pending))?;
            if let Err(error) = self.server.log_metrics(run_id, &metrics) {
                let error = self.about_run(run_id, error);
                if !error.is_for_good() {
                    return Err(error);
                }
                let words =
                    format!("{error}; {} values up to step {} are left out", metrics.len(), pending.step);
                log::warn!("{words}");
                // Once: what is wrong with one message most often is with all.
                if !std::mem::replace(&mut self.has_left_out, true) {
                    self.said.warnings.push(words);
                }
            }
            self.taken();
            self.note(|ledger| {
                (ledger.epoch, ledger.step, ledger.pending) = (pending.epoch, pending.step, None)
            })?;
        }
        Ok(())
    }

    /// The server has taken a message.
    fn taken(&self) {
        self.progress.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// What an error of a message about the run means.
    fn about_run(&self, run_id: &str, error: TrackError) -> TrackError {
        self.server.about_run(run_id, &self.work_dir.join(FILE_NAME), error)
    }

    /// The run on the server: the one of the ledger, one that an earlier process made and could not note, or a new one.
    fn run(&mut self, recorded: &Recorded) -> Result<String, TrackError> {
        if let Some(run_id) = self.ledger(recorded)?.run_id.clone() {
            return Ok(run_id);
        }
        let experiment_id = self.server.experiment(&self.target.experiment)?;
        let trainer_run_id = recorded.run_id.to_string();
        let run = match self.server.find_run(&experiment_id, RUN_TAG, &trainer_run_id)? {
            Some(run) => run,
            None => {
                let began_ms = span_ms(&recorded.history).map_or_else(now_ms, |(began_ms, _)| began_ms);
                // `.` has no name of its own.
                let whole = self.work_dir.canonicalize().unwrap_or_else(|_| self.work_dir.clone());
                let folder = || whole.file_name().map(|name| name.to_string_lossy().into_owned());
                let of_trial = std::env::var(TRIAL_NAME_VARIABLE).ok();
                let name = self.target.run_name.clone().or(of_trial).or_else(folder);
                let name = name.unwrap_or_else(|| "trainer".to_owned());
                self.server.create_run(&experiment_id, &name, began_ms, &tags(&trainer_run_id))?
            }
        };
        self.note(|ledger| {
            (ledger.run_id, ledger.artifact_uri) = (Some(run.run_id.clone()), run.artifact_uri);
        })?;
        Ok(run.run_id)
    }

    fn set_status(&mut self, run_id: &str, status: &str, end_ms: Option<u64>) -> Result<(), TrackError> {
        if self.ledger.as_ref().is_none_or(|ledger| ledger.status.as_deref() == Some(status)) {
            return Ok(());
        }
        let told = self.server.update_run(run_id, status, end_ms);
        told.map_err(|error| self.about_run(run_id, error))?;
        self.taken();
        self.note(|ledger| ledger.status = Some(status.to_owned()))
    }

    /// Parameters never change on a server, so those of the first attempt are sent.
    fn tell_params(&mut self, recorded: &Recorded, run_id: &str) -> Result<(), TrackError> {
        if self.ledger.as_ref().is_none_or(|ledger| ledger.has_params) {
            return Ok(());
        }
        let first = recorded.events.iter().find_map(|event| match event {
            Event::RunStarted(started) => Some(started.settings.as_str()),
            _ => None,
        });
        let settings = first.or(recorded.history.settings.as_deref()).unwrap_or_default();
        for part in params(settings, &self.work_dir).chunks(MOST_PARAMS) {
            let Err(error) = self.server.log_params(run_id, part) else { continue };
            let error = self.about_run(run_id, error);
            if !error.is_for_good() {
                return Err(error);
            }
            // The server takes all of a message or nothing; one that it will not have keeps out no other.
            for param in part {
                match self.server.log_params(run_id, std::slice::from_ref(param)) {
                    Err(error) if error.is_for_good() => {
                        self.said.warnings.push(format!("{error}; the parameter `{}` is left out", param.0));
                    }
                    other => other?,
                }
            }
        }
        self.note(|ledger| ledger.has_params = true)
    }

    /// The trained model of a finished run, if it can be sent.
    fn tell_model(&mut self, recorded: &Recorded) -> Result<(), TrackError> {
        let Some(finished) = recorded.history.finished.as_ref().filter(|_| self.target.artifact) else {
            return Ok(());
        };
        let Some(ledger) = self.ledger.as_ref().filter(|ledger| ledger.artifact_step != Some(finished.step))
        else {
            return Ok(());
        };
        let path = self.work_dir.join(export::FILE_NAME);
        match self.server.upload(&ledger.artifact_uri, export::FILE_NAME, &path, &self.progress.taken) {
            Err(error) if error.is_for_good() => {
                self.said.warnings.push(format!("the model was not sent: {error}"));
                return Ok(());
            }
            other => other?,
        }
        self.note(|ledger| ledger.artifact_step = Some(finished.step))
    }
}

fn tags(trainer_run_id: &str) -> Vec<(String, String)> {
    let mut tags = vec![
        (RUN_TAG.to_owned(), trainer_run_id.to_owned()),
        ("trainer.version".to_owned(), crate::BUILD.to_owned()),
        ("mlflow.source.name".to_owned(), "trainer".to_owned()),
    ];
    if let Ok(trial) = std::env::var(TRIAL_VARIABLE) {
        tags.push((TRIAL_TAG.to_owned(), trial));
    }
    tags
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
