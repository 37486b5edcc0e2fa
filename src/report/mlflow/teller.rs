//! One pass over the journal: what was not sent is sent, in its order, and noted in the ledger.

use super::ledger::{FILE_NAME, Ledger};
use super::server::{Server, TrackError};
use super::unsent::{MOST_PARAMS, final_status, follow_resets, metrics, next, params};
use super::{TRIAL_TAG, TRIAL_VARIABLE, Target};
use crate::report::recorded::Recorded;
use crate::train::export;
use std::path::{Path, PathBuf};
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
}

/// Whether the run in a work directory is over.
pub(super) fn is_finished(work_dir: &Path) -> bool {
    Recorded::read(work_dir).is_ok_and(|recorded| recorded.history.finished.is_some())
}

impl Teller {
    pub(super) fn new(target: Target, work_dir: PathBuf) -> Self {
        let server = Server::new(&target.uri);
        Self { target, work_dir, server, ledger: None, has_announced: false }
    }

    /// Tells what has happened, of a run that goes on. Gives what a person should know.
    pub(super) fn tell(&mut self) -> Result<Option<String>, TrackError> {
        let Some(recorded) = self.recorded()? else { return Ok(None) };
        self.tell_up_to(&recorded, "RUNNING")
    }

    /// Tells the rest, of a run whose process ends.
    pub(super) fn tell_end(&mut self) -> Result<Option<String>, TrackError> {
        let Some(recorded) = self.recorded()? else { return Ok(None) };
        let notice = self.tell_up_to(&recorded, "RUNNING")?;
        let wrong_model = self.tell_model(&recorded)?;
        let status = final_status(&recorded.history);
        self.set_status(status, Some(now_ms()))?;
        Ok(wrong_model.or(notice))
    }

    /// Whether a finished run has something that was not sent.
    pub(super) fn has_unsent(&mut self) -> bool {
        let Ok(Some(recorded)) = self.recorded() else { return false };
        let Ok(ledger) = self.ledger(&recorded) else { return false };
        ledger.status.as_deref() != Some(final_status(&recorded.history))
    }

    /// What is left, in words.
    pub(super) fn unsent_words(&mut self) -> String {
        let every_steps = self.target.every_steps;
        let Ok(Some(recorded)) = self.recorded() else { return "the end of the run".to_owned() };
        let Ok(ledger) = self.ledger(&recorded) else { return "the run".to_owned() };
        let (mut ledger, mut count) = (ledger.clone(), 0);
        while let Some(pending) = next(&ledger, &recorded.history, every_steps, 0) {
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

    fn tell_up_to(&mut self, recorded: &Recorded, status: &str) -> Result<Option<String>, TrackError> {
        let every_steps = self.target.every_steps;
        let history = &recorded.history;
        follow_resets(self.ledger(recorded)?, &recorded.events, history);
        let run_id = self.run(recorded)?;
        self.set_status(status, None)?;
        self.tell_params(recorded, &run_id)?;
        while let Some(ledger) = &self.ledger
            && let Some(pending) = next(ledger, history, every_steps, now_ms())
        {
            let metrics = metrics(ledger, pending, history, every_steps);
            // What is noted before can be sent again with the same times, and the server knows that it has it.
            self.note(|ledger| ledger.pending = Some(pending))?;
            match self.server.log_metrics(&run_id, &metrics) {
                Err(error) if error.is_for_good() => {
                    log::warn!("{error}; these values are left out");
                }
                other => other?,
            }
            self.note(|ledger| {
                (ledger.epoch, ledger.step, ledger.pending) = (pending.epoch, pending.step, None)
            })?;
        }
        let announced = std::mem::replace(&mut self.has_announced, true);
        let Target { uri, experiment, .. } = &self.target;
        Ok((!announced).then(|| format!("MLflow: run {run_id} of experiment {experiment} at {uri}")))
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
                let folder = self.work_dir.file_name().map(|name| name.to_string_lossy().into_owned());
                let name = self.target.run_name.clone().or(folder).unwrap_or_else(|| "trainer".to_owned());
                self.server.create_run(&experiment_id, &name, now_ms(), &tags(&trainer_run_id))?
            }
        };
        self.note(|ledger| {
            (ledger.run_id, ledger.artifact_uri) = (Some(run.run_id.clone()), run.artifact_uri);
        })?;
        Ok(run.run_id)
    }

    fn set_status(&mut self, status: &str, end_ms: Option<u64>) -> Result<(), TrackError> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let Some(run_id) = ledger.run_id.clone().filter(|_| ledger.status.as_deref() != Some(status)) else {
            return Ok(());
        };
        self.server.update_run(&run_id, status, end_ms)?;
        self.note(|ledger| ledger.status = Some(status.to_owned()))
    }

    /// Parameters never change on a server, so those of the first attempt are sent.
    fn tell_params(&mut self, recorded: &Recorded, run_id: &str) -> Result<(), TrackError> {
        if self.ledger.as_ref().is_none_or(|ledger| ledger.has_params) {
            return Ok(());
        }
        let settings = recorded.history.settings.as_deref().unwrap_or_default();
        for part in params(settings, &self.work_dir).chunks(MOST_PARAMS) {
            match self.server.log_params(run_id, part) {
                Err(error) if error.is_for_good() => log::warn!("{error}; these parameters are left out"),
                other => other?,
            }
        }
        self.note(|ledger| ledger.has_params = true)
    }

    /// The trained model of a finished run. Gives why it can not be sent, if that is for good.
    fn tell_model(&mut self, recorded: &Recorded) -> Result<Option<String>, TrackError> {
        let Some(finished) = recorded.history.finished.as_ref().filter(|_| self.target.artifact) else {
            return Ok(None);
        };
        let Some(ledger) = &self.ledger else { return Ok(None) };
        if ledger.artifact_step == Some(finished.step) {
            return Ok(None);
        }
        let path = self.work_dir.join(export::FILE_NAME);
        match self.server.upload(&ledger.artifact_uri, export::FILE_NAME, &path) {
            Err(error) if error.is_for_good() => return Ok(Some(format!("the model was not sent: {error}"))),
            other => other?,
        }
        self.note(|ledger| ledger.artifact_step = Some(finished.step))?;
        Ok(None)
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
