//! As much of an MLflow server as a run talks to, on loopback: up, down, slow, moved, or with another memory.

use crate::work_dir::WorkDir;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How the server answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mood {
    Up,
    /// Takes every message, and answers with 500 instead of a yes.
    Forgetful,
    Refuses,
    Nonsense,
    Silent,
    /// Sends every question to another place.
    Moved,
}

/// A run on the server.
#[derive(Debug, Default, Clone)]
pub struct Run {
    pub id: usize,
    pub name: String,
    pub is_deleted: bool,
    /// When it began and ended, in milliseconds since 1970.
    pub began_ms: u64,
    pub ended_ms: u64,
    pub params: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    /// Key and step, and how often each value of them came with another time.
    pub metrics: BTreeMap<(String, u64), Vec<(u64, Json)>>,
    pub statuses: Vec<String>,
    pub artifacts: BTreeMap<String, usize>,
}

#[derive(Debug)]
pub struct State {
    pub mood: Mood,
    pub asked: usize,
    experiments: Vec<String>,
    pub runs: Vec<Run>,
    /// The id of the next run; none is used twice.
    pub next_id: usize,
    /// A parameter that it takes in no message.
    pub hated_param: Option<String>,
}

impl State {
    /// Forgets everything, as a server with a new database.
    pub fn wipe(&mut self) {
        self.runs.clear();
        self.experiments.clear();
    }

    fn run(&mut self, json: &Json) -> Option<&mut Run> {
        let id: usize = json["run_id"].as_str()?.parse().ok()?;
        self.runs.iter_mut().find(|run| run.id == id)
    }
}

/// As much of an MLflow server as a run talks to.
pub struct Server {
    pub uri: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let (experiments, runs, next_id, hated_param) = (Vec::new(), Vec::new(), 0, None);
        let state = State { mood, asked: 0, experiments, runs, next_id, hated_param };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { uri, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    #[track_caller]
    pub fn only_run(&self) -> Run {
        let state = self.state();
        assert_eq!(state.runs.len(), 1, "{:?}", state.runs);
        state.runs[0].clone()
    }

    /// A work directory whose runs are told to this server.
    pub fn work_dir(&self, more: &[&str]) -> WorkDir {
        let uri = format!("mlflow.uri={}", self.uri);
        let mut dir =
            WorkDir::new(&["model.builtin=mlp", "schedule.kind=constant", "mlflow.experiment=digits", &uri]);
        dir.add(more);
        dir
    }
}

/// Answers one request, and closes.
fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let (name, value) = match header.trim_end().split_once(':') {
            Some((name, value)) => (name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
        match name.as_str() {
            "content-length" => length = value.parse().ok()?,
            "transfer-encoding" => is_chunked = true,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    while is_chunked {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).ok()? + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..chunk.len() - 2]);
        is_chunked = chunk.len() > 2;
    }
    let mood = state.lock().unwrap().mood;
    state.lock().unwrap().asked += 1;
    let refused = || (500, json!({ "error_code": "INTERNAL_ERROR", "message": "out of order" }).to_string());
    let (status, answer) = match mood {
        Mood::Up => answer(&method, &path, &body, &mut state.lock().unwrap()),
        Mood::Forgetful => {
            answer(&method, &path, &body, &mut state.lock().unwrap());
            refused()
        }
        Mood::Refuses => refused(),
        Mood::Nonsense => (200, "<html>welcome</html>".to_owned()),
        Mood::Moved => (308, String::new()),
        Mood::Silent => {
            std::thread::sleep(Duration::from_secs(3600));
            return None;
        }
    };
    let head =
        format!("HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\nConnection: close\r\n", answer.len());
    let head = head + if status == 308 { "Location: https://elsewhere.example/x\r\n\r\n" } else { "\r\n" };
    reader.get_mut().write_all((head + &answer).as_bytes()).ok()
}

fn answer(method: &str, path: &str, body: &[u8], state: &mut State) -> (u16, String) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if let Some(artifact) = path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/0/") {
        assert_eq!(method, "PUT");
        let (run, name) = artifact.split_once("/artifacts/").unwrap();
        let run = state.run(&json!({ "run_id": run })).unwrap();
        run.artifacts.insert(name.to_owned(), body.len());
        return (200, "{}".to_owned());
    }
    let json: Json = if body.is_empty() { Json::Null } else { serde_json::from_slice(body).unwrap() };
    let info = |run: usize| json!({ "info": { "run_id": run.to_string(), "artifact_uri": format!("mlflow-artifacts:/0/{run}/artifacts") } });
    let refused = |status: u16, code: &str, message: &str| {
        (status, json!({ "error_code": code, "message": message }).to_string())
    };
    let none = || refused(404, "RESOURCE_DOES_NOT_EXIST", "none");
    let answer = match path.strip_prefix("/api/2.0/mlflow/").unwrap() {
        "experiments/get-by-name" => {
            let name = query.strip_prefix("experiment_name=").unwrap();
            match state.experiments.iter().position(|known| known == name) {
                Some(id) => json!({ "experiment": { "experiment_id": id.to_string() } }),
                None => return none(),
            }
        }
        "experiments/create" => {
            state.experiments.push(json["name"].as_str().unwrap().to_owned());
            json!({ "experiment_id": (state.experiments.len() - 1).to_string() })
        }
        "runs/search" => search(&json, state, info),
        "runs/get" => {
            let id = query.strip_prefix("run_id=").unwrap();
            let Some(run) = state.run(&json!({ "run_id": id })) else { return none() };
            let stage = if run.is_deleted { "deleted" } else { "active" };
            json!({ "run": { "info": { "run_id": id, "lifecycle_stage": stage } } })
        }
        "runs/create" => {
            let (id, began_ms) = (state.next_id, json["start_time"].as_u64().unwrap());
            state.next_id += 1;
            let name = json["run_name"].as_str().unwrap().to_owned();
            let mut run = Run { id, name, began_ms, statuses: vec!["RUNNING".to_owned()], ..Run::default() };
            for tag in json["tags"].as_array().unwrap() {
                run.tags.insert(
                    tag["key"].as_str().unwrap().to_owned(),
                    tag["value"].as_str().unwrap().to_owned(),
                );
            }
            state.runs.push(run);
            json!({ "run": info(id) })
        }
        "runs/update" => {
            let status = json["status"].as_str().unwrap().to_owned();
            let Some(run) = state.run(&json) else { return none() };
            if run.is_deleted {
                return refused(400, "INVALID_PARAMETER_VALUE", "must be in the 'active' state");
            }
            run.ended_ms = json["end_time"].as_u64().unwrap_or(0);
            if run.statuses.last() != Some(&status) {
                run.statuses.push(status);
            }
            json!({})
        }
        "runs/log-batch" => {
            let hated = state.hated_param.clone();
            let Some(run) = state.run(&json) else { return none() };
            if run.is_deleted {
                return refused(400, "INVALID_PARAMETER_VALUE", "must be in the 'active' state");
            }
            let params = json["params"].as_array();
            let is_hated = params
                .is_some_and(|params| params.iter().any(|param| param["key"].as_str() == hated.as_deref()));
            if is_hated || !take_batch(&json, run) {
                return refused(400, "INVALID_PARAMETER_VALUE", "it is another already");
            }
            json!({})
        }
        other => panic!("{other}"),
    };
    (200, answer.to_string())
}

/// The newest first, in pages.
fn search(json: &Json, state: &State, info: impl Fn(usize) -> Json) -> Json {
    let tagged = json["filter"].as_str().unwrap().strip_prefix("tags.`").map(|rest| {
        let (tag, value) = rest.split_once("` = '").unwrap();
        (tag.to_owned(), value.trim_end_matches('\'').to_owned())
    });
    let fits = |run: &&Run| match &tagged {
        _ if run.is_deleted => false,
        Some((tag, value)) => run.tags.get(tag) == Some(value),
        None => run.statuses.last().is_some_and(|status| status == "FINISHED"),
    };
    let first: usize = json["page_token"].as_str().map_or(0, |token| token.parse().unwrap());
    let most = json["max_results"].as_u64().unwrap() as usize;
    let found: Vec<&Run> = state.runs.iter().rev().filter(fits).collect();
    let page = found.iter().skip(first).take(most).map(|run| {
        let mut found = info(run.id);
        let tags: Vec<Json> =
            run.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        found["data"] = json!({ "tags": tags });
        found
    });
    let mut answer = json!({ "runs": page.collect::<Vec<_>>() });
    if found.len() > first + most {
        answer["next_page_token"] = json!((first + most).to_string());
    }
    answer
}

/// As the real server, it takes a value once that has the same key, step, time and number, and no other value for a
/// parameter.
fn take_batch(json: &Json, run: &mut Run) -> bool {
    for param in json["params"].as_array().unwrap_or(&Vec::new()) {
        let (key, value) = (param["key"].as_str().unwrap(), param["value"].as_str().unwrap());
        let known = run.params.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        if known != value {
            return false;
        }
    }
    let metrics = json["metrics"].as_array().cloned().unwrap_or_default();
    assert!(metrics.len() <= 1000, "{}", metrics.len());
    for metric in metrics {
        let key = (metric["key"].as_str().unwrap().to_owned(), metric["step"].as_u64().unwrap());
        let value = (metric["timestamp"].as_u64().unwrap(), metric["value"].clone());
        let known = run.metrics.entry(key).or_default();
        if !known.contains(&value) {
            known.push(value);
        }
    }
    true
}
