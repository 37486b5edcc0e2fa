//! The REST API 2.0 of a tracking server, as much of it as a run needs.

use super::address::{authorization, escaped, shown};
use super::error::{NOT_THERE, TrackError};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody, http};

/// Longest time for one small message.
const MESSAGE: Duration = Duration::from_secs(10);

/// Longest time for a model, and how fast a server takes one that is large at least.
const UPLOAD: Duration = Duration::from_secs(600);
const UPLOAD_BYTES_PER_S: u64 = 100_000;

/// Finished runs in one answer. A run with all that it has takes some ten kilobytes, and the server some milliseconds.
const RUNS_PER_ANSWER: u64 = 100;

/// No answer that is of use is longer.
const ANSWER_BYTES: u64 = 8 << 20;

/// The scheme of artifacts that the server itself takes.
const PROXIED: &str = "mlflow-artifacts:";

/// A tracking server.
#[derive(Debug)]
pub struct Server {
    uri: String,
    agent: Agent,
    authorization: Option<String>,
}

/// A run on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundRun {
    pub(super) run_id: String,
    pub(super) artifact_uri: String,
}

impl Server {
    /// The server at `uri`. Nothing is sent yet. The names and secrets of `MLFLOW_TRACKING_USERNAME`,
    /// `MLFLOW_TRACKING_PASSWORD` and `MLFLOW_TRACKING_TOKEN` are used as MLflow's own clients do.
    #[must_use]
    pub fn new(uri: &str) -> Self {
        static CRYPTOGRAPHY: Once = Once::new();
        CRYPTOGRAPHY.call_once(|| {
            // One that the embedding program has chosen stays.
            _ = rustls::crypto::ring::default_provider().install_default();
        });
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .timeout_connect(Some(MESSAGE / 2))
            .timeout_global(Some(MESSAGE))
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls)
            .build();
        Self { uri: uri.to_owned(), agent: config.into(), authorization: authorization() }
    }

    /// The id of an experiment, which is made if there is none of this name.
    pub(super) fn experiment(&self, name: &str) -> Result<String, TrackError> {
        let by_name = format!("experiments/get-by-name?experiment_name={}", escaped(name));
        let get = || {
            let answer = self.get(&by_name)?;
            self.text(&answer, &by_name, &["experiment", "experiment_id"])
        };
        match get() {
            Err(TrackError::Refused { code, .. }) if code == NOT_THERE => {}
            other => return other,
        }
        let create = "experiments/create";
        match self.post(create, &json!({ "name": name })) {
            Ok(answer) => self.text(&answer, create, &["experiment_id"]),
            // Another run made it at this moment.
            Err(TrackError::Refused { code, .. }) if code == "RESOURCE_ALREADY_EXISTS" => get(),
            Err(error) => Err(error),
        }
    }

    /// The run of an experiment with this tag, the newest if there are several.
    pub(super) fn find_run(
        &self,
        experiment_id: &str,
        tag: &str,
        value: &str,
    ) -> Result<Option<FoundRun>, TrackError> {
        let filter = format!("tags.`{tag}` = '{}'", value.replace('\'', ""));
        let path = "runs/search";
        let question = json!({ "experiment_ids": [experiment_id], "filter": filter, "max_results": 1 });
        let answer = self.post(path, &question)?;
        match answer.get("runs").and_then(|runs| runs.get(0)) {
            None => Ok(None),
            Some(run) => self.found(run, path).map(Some),
        }
    }

    /// The values of a tag of all finished runs of an experiment that have it; empty if there is no such experiment.
    ///
    /// # Errors
    /// If the server does not answer, or not as MLflow does.
    pub fn finished(&self, experiment: &str, tag: &str) -> Result<Vec<String>, TrackError> {
        let id = match self.get(&format!("experiments/get-by-name?experiment_name={}", escaped(experiment))) {
            Ok(answer) => self.text(&answer, "experiments/get-by-name", &["experiment", "experiment_id"])?,
            Err(TrackError::Refused { code, .. }) if code == NOT_THERE => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let (mut values, mut page) = (Vec::new(), None::<String>);
        loop {
            let question = json!({
                "experiment_ids": [id],
                "filter": "attributes.status = 'FINISHED'",
                "max_results": RUNS_PER_ANSWER,
                "page_token": page,
            });
            let answer = self.post("runs/search", &question)?;
            let runs = answer.get("runs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for tags in runs.iter().filter_map(|run| run.get("data")?.get("tags")?.as_array()) {
                let of_tag =
                    tags.iter().filter(|found| found.get("key").and_then(Value::as_str) == Some(tag));
                values.extend(of_tag.filter_map(|found| found.get("value")?.as_str().map(str::to_owned)));
            }
            let next = answer.get("next_page_token").and_then(Value::as_str).map(str::to_owned);
            // A server that gives the same page for ever is not followed.
            if next.is_none() || next == page || runs.is_empty() {
                return Ok(values);
            }
            page = next;
        }
    }

    /// Makes a run.
    pub(super) fn create_run(
        &self,
        experiment_id: &str,
        name: &str,
        start_ms: u64,
        tags: &[(String, String)],
    ) -> Result<FoundRun, TrackError> {
        let path = "runs/create";
        let question = json!({
            "experiment_id": experiment_id, "run_name": name, "start_time": start_ms, "tags": pairs(tags),
        });
        let answer = self.post(path, &question)?;
        match answer.get("run") {
            Some(run) => self.found(run, path),
            None => Err(self.garbage(path, "there is no `run` in it")),
        }
    }

    /// Sets the status of a run, with the time of its end if it has one.
    pub(super) fn update_run(
        &self,
        run_id: &str,
        status: &str,
        end_ms: Option<u64>,
    ) -> Result<(), TrackError> {
        let mut question = json!({ "run_id": run_id, "status": status });
        if let (Some(end_ms), Some(fields)) = (end_ms, question.as_object_mut()) {
            fields.insert("end_time".to_owned(), end_ms.into());
        }
        self.post("runs/update", &question).map(drop)
    }

    /// Sends parameters.
    pub(super) fn log_params(&self, run_id: &str, params: &[(String, String)]) -> Result<(), TrackError> {
        self.post("runs/log-batch", &json!({ "run_id": run_id, "params": pairs(params) })).map(drop)
    }

    /// Sends metrics.
    pub(super) fn log_metrics(&self, run_id: &str, metrics: &[Value]) -> Result<(), TrackError> {
        self.post("runs/log-batch", &json!({ "run_id": run_id, "metrics": metrics })).map(drop)
    }

    /// What an error of a message about a run means: one that is gone, or was deleted, is refused in other words.
    pub(super) fn about_run(&self, run_id: &str, ledger: &Path, error: TrackError) -> TrackError {
        if !matches!(&error, TrackError::Refused { status: 400 | 404, .. }) {
            return error;
        }
        match self.get(&format!("runs/get?run_id={}", escaped(run_id))) {
            Ok(answer) => {
                let stage = answer.pointer("/run/info/lifecycle_stage").and_then(Value::as_str);
                match stage {
                    Some("deleted") => {
                        TrackError::Deleted { run_id: run_id.to_owned(), ledger: ledger.to_owned() }
                    }
                    _ => error,
                }
            }
            Err(TrackError::Refused { code, .. }) if code == NOT_THERE => {
                TrackError::Gone { run_id: run_id.to_owned() }
            }
            // It is not known, and asked the next time.
            Err(other) => other,
        }
    }

    /// Sends a file to the artifacts of a run, through the server; `taken_bytes` grows by what it takes.
    pub(super) fn upload(
        &self,
        artifact_uri: &str,
        name: &str,
        path: &Path,
        taken_bytes: &AtomicU64,
    ) -> Result<(), TrackError> {
        let Some(folder) = artifact_uri.strip_prefix(PROXIED) else {
            return Err(TrackError::NotProxied { artifact_uri: artifact_uri.to_owned() });
        };
        // `mlflow-artifacts:/1/abc/artifacts`, or with a server's name after two slashes.
        let folder = match folder.strip_prefix("//") {
            Some(named) => named.split_once('/').map_or("", |(_, folder)| folder),
            None => folder.trim_start_matches('/'),
        };
        let local = |error: io::Error| TrackError::Local { path: path.to_owned(), reason: error.to_string() };
        let file = File::open(path).map_err(local)?;
        let what = format!("mlflow-artifacts/artifacts/{folder}/{name}");
        let url = format!("{}/api/2.0/{what}", self.uri);
        let len = file.metadata().map_err(local)?.len();
        let longest = UPLOAD.max(Duration::from_secs(len / UPLOAD_BYTES_PER_S));
        let request = self.agent.put(&url).config().timeout_global(Some(longest)).build();
        let request = match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        };
        let request = request
            .header("Content-Type", "application/octet-stream")
            .header("Content-Length", len.to_string());
        // A file that grows meanwhile is not sent beyond the length that was said.
        let mut counted = Counted { inner: file.take(len), taken_bytes };
        self.answer(&what, request.send(SendBody::from_reader(&mut counted))).map(drop)
    }

    fn get(&self, path: &str) -> Result<Value, TrackError> {
        let request = self.agent.get(self.url(path));
        let request = match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        };
        self.answer(path, request.call())
    }

    fn post(&self, path: &str, question: &Value) -> Result<Value, TrackError> {
        let request = self.agent.post(self.url(path)).header("Content-Type", "application/json");
        let request = match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        };
        self.answer(path, request.send(question.to_string().as_bytes()))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/2.0/mlflow/{path}", self.uri)
    }

    fn answer(
        &self,
        path: &str,
        response: Result<http::Response<Body>, ureq::Error>,
    ) -> Result<Value, TrackError> {
        let unreachable =
            |error: ureq::Error| TrackError::Unreachable { uri: self.shown(), reason: error.to_string() };
        let mut response = response.map_err(unreachable)?;
        let status = response.status().as_u16();
        let path = path.split('?').next().unwrap_or(path);
        if let Some(to) = response.headers().get("location").filter(|_| (300..400).contains(&status)) {
            let to = String::from_utf8_lossy(to.as_bytes()).chars().take(200).collect();
            return Err(TrackError::Elsewhere { uri: self.shown(), path: path.to_owned(), to });
        }
        let body =
            response.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec().map_err(unreachable)?;
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        if (200..300).contains(&status) {
            return match json {
                Some(json) => Ok(json),
                None if body.is_empty() => Ok(Value::Null),
                None => Err(self.garbage(path, "it is not JSON")),
            };
        }
        let field = |name: &str| {
            json.as_ref().and_then(|json| json.get(name)?.as_str()).unwrap_or_default().to_owned()
        };
        // Of a proxy's page of HTML, the beginning is enough.
        let plain = || {
            String::from_utf8_lossy(&body).chars().filter(|letter| !letter.is_control()).take(200).collect()
        };
        let message = Some(field("message")).filter(|message| !message.is_empty()).unwrap_or_else(plain);
        Err(TrackError::Refused { path: path.to_owned(), status, code: field("error_code"), message })
    }

    fn found(&self, run: &Value, path: &str) -> Result<FoundRun, TrackError> {
        let run_id = self.text(run, path, &["info", "run_id"])?;
        let artifact_uri = self.text(run, path, &["info", "artifact_uri"]).unwrap_or_default();
        Ok(FoundRun { run_id, artifact_uri })
    }

    /// The text at a path of keys in an answer.
    fn text(&self, answer: &Value, path: &str, keys: &[&str]) -> Result<String, TrackError> {
        let found = keys.iter().try_fold(answer, |value, key| value.get(key)).and_then(Value::as_str);
        found
            .map(str::to_owned)
            .ok_or_else(|| self.garbage(path, &format!("there is no `{}` in it", keys.join("."))))
    }

    fn garbage(&self, path: &str, reason: &str) -> TrackError {
        let path = path.split('?').next().unwrap_or(path).to_owned();
        TrackError::Garbage { uri: self.shown(), path, reason: reason.to_owned() }
    }

    fn shown(&self) -> String {
        shown(&self.uri)
    }
}

/// A file that is read, and how much of it was.
struct Counted<'a, R> {
    inner: R,
    taken_bytes: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.taken_bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn pairs(pairs: &[(String, String)]) -> Vec<Value> {
    pairs.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}
