//! A run that is told to a tracking server: one on loopback that is down, slow, or answers nonsense, and then does not.

use crate::work_dir::{Ended, WorkDir, trainer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How the server answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Up,
    /// Takes every message, and answers with 500 instead of a yes.
    Forgetful,
    Refuses,
    Nonsense,
    Silent,
}

/// A run on the server.
#[derive(Debug, Default, Clone)]
struct Run {
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    /// Key and step, and how often each value of them came with another time.
    metrics: BTreeMap<(String, u64), Vec<(u64, Json)>>,
    statuses: Vec<String>,
    artifacts: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    asked: usize,
    experiments: Vec<String>,
    runs: Vec<Run>,
}

/// As much of an MLflow server as a run talks to.
struct Server {
    uri: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let state = State { mood, asked: 0, experiments: Vec::new(), runs: Vec::new() };
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    #[track_caller]
    fn only_run(&self) -> Run {
        let state = self.state();
        assert_eq!(state.runs.len(), 1, "{:?}", state.runs);
        state.runs[0].clone()
    }

    /// A work directory whose runs are told to this server.
    fn work_dir(&self, more: &[&str]) -> WorkDir {
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
        Mood::Silent => {
            std::thread::sleep(Duration::from_secs(3600));
            return None;
        }
    };
    let head =
        format!("HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    reader.get_mut().write_all((head + &answer).as_bytes()).ok()
}

fn answer(method: &str, path: &str, body: &[u8], state: &mut State) -> (u16, String) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if let Some(artifact) = path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/0/") {
        assert_eq!(method, "PUT");
        let (run, name) = artifact.split_once("/artifacts/").unwrap();
        state.runs[run.parse::<usize>().unwrap()].artifacts.insert(name.to_owned(), body.len());
        return (200, "{}".to_owned());
    }
    let json: Json = if body.is_empty() { Json::Null } else { serde_json::from_slice(body).unwrap() };
    let info = |run: usize| json!({ "info": { "run_id": run.to_string(), "artifact_uri": format!("mlflow-artifacts:/0/{run}/artifacts") } });
    let run = || json["run_id"].as_str().unwrap().parse::<usize>().unwrap();
    let answer = match path.strip_prefix("/api/2.0/mlflow/").unwrap() {
        "experiments/get-by-name" => {
            let name = query.strip_prefix("experiment_name=").unwrap();
            match state.experiments.iter().position(|known| known == name) {
                Some(id) => json!({ "experiment": { "experiment_id": id.to_string() } }),
                None => {
                    return (
                        404,
                        json!({ "error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none" }).to_string(),
                    );
                }
            }
        }
        "experiments/create" => {
            state.experiments.push(json["name"].as_str().unwrap().to_owned());
            json!({ "experiment_id": (state.experiments.len() - 1).to_string() })
        }
        "runs/search" => search(json["filter"].as_str().unwrap(), state, info),
        "runs/create" => {
            let mut run = Run { statuses: vec!["RUNNING".to_owned()], ..Run::default() };
            for tag in json["tags"].as_array().unwrap() {
                run.tags.insert(
                    tag["key"].as_str().unwrap().to_owned(),
                    tag["value"].as_str().unwrap().to_owned(),
                );
            }
            state.runs.push(run);
            json!({ "run": info(state.runs.len() - 1) })
        }
        "runs/update" => {
            let status = json["status"].as_str().unwrap().to_owned();
            let statuses = &mut state.runs[run()].statuses;
            if statuses.last() != Some(&status) {
                statuses.push(status);
            }
            json!({})
        }
        "runs/log-batch" => {
            if !take_batch(&json, &mut state.runs[run()]) {
                let code = "INVALID_PARAMETER_VALUE";
                return (400, json!({ "error_code": code, "message": "it is another already" }).to_string());
            }
            json!({})
        }
        other => panic!("{other}"),
    };
    (200, answer.to_string())
}

fn search(filter: &str, state: &State, info: impl Fn(usize) -> Json) -> Json {
    let tagged = filter.strip_prefix("tags.`").map(|rest| {
        let (tag, value) = rest.split_once("` = '").unwrap();
        (tag.to_owned(), value.trim_end_matches('\'').to_owned())
    });
    let fits = |run: &Run| match &tagged {
        Some((tag, value)) => run.tags.get(tag) == Some(value),
        None => run.statuses.last().is_some_and(|status| status == "FINISHED"),
    };
    let runs = state.runs.iter().enumerate().filter(|(_, run)| fits(run)).map(|(index, run)| {
        let mut found = info(index);
        let tags: Vec<Json> =
            run.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        found["data"] = json!({ "tags": tags });
        found
    });
    json!({ "runs": runs.collect::<Vec<_>>() })
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

/// That the server has every value of the run's journal, each once.
#[track_caller]
fn check_has_all(run: &Run, dir: &WorkDir) {
    let twice: Vec<_> = run.metrics.iter().filter(|(_, values)| values.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let has =
        |key: &str, step: u64| run.metrics.get(&(key.to_owned(), step)).map(|values| values[0].1.clone());
    // The reader of JSON in this test rounds the last digit as it likes.
    let is = |found: Option<Json>, expected: f64| {
        found
            .and_then(|found| found.as_f64())
            .is_some_and(|found| (found - expected).abs() <= 1e-15 * expected.abs())
    };
    for epoch in dir.folded().epochs.values() {
        assert!(is(has("train_loss", epoch.step), epoch.train_loss), "epoch {}", epoch.epoch);
        assert!(has("val_loss", epoch.step).is_some() && has("val_accuracy", epoch.step).is_some());
    }
    for (step, done) in dir.folded().steps.range(1..).filter(|(step, _)| *step % 10 == 0) {
        assert!(is(has("step_loss", *step), f64::from(f32::from_bits(done.loss_bits))), "step {step}");
    }
    assert!(has("step_loss", 11).is_none());
}

#[test]
fn a_run_is_told_whole_and_is_the_same_one_after_a_resume() {
    let server = Server::start(Mood::Up);
    let dir = server.work_dir(&["train.epochs=40"]);
    let child = dir.start_until_step(100, &[]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143);
    assert_eq!(server.only_run().statuses, ["RUNNING", "KILLED"]);
    dir.finish(&[]).check_says(&["MLflow: run 0 of experiment digits"]);
    let run = server.only_run();
    assert_eq!(run.statuses, ["RUNNING", "KILLED", "RUNNING", "FINISHED"]);
    check_has_all(&run, &dir);
    assert_eq!(
        run.artifacts["model.onnx"] as u64,
        fs::metadata(dir.path().join("model.onnx")).unwrap().len()
    );
    assert_eq!((run.params["train.epochs"].as_str(), run.params["model.builtin"].as_str()), ("40", "mlp"));
    assert!(run.params.keys().all(|key| !key.starts_with("mlflow")));
    // Without what was noted of it, the run is found by its tag.
    fs::remove_file(dir.path().join("mlflow.json")).unwrap();
    dir.finish(&["--epochs", "41"]);
    assert_eq!(server.only_run().statuses.last().unwrap(), "FINISHED");
}

#[test]
fn a_server_that_is_down_is_caught_up_by_the_next_start_and_by_nothing_to_do() {
    let server = Server::start(Mood::Refuses);
    let dir = server.work_dir(&["--epochs", "3"]);
    let child = dir.start_until_step(30, &[]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let stopped = Ended::of_child(child);
    stopped.check_says(&["refused", "is not sent yet", "`trainer run` sends the rest"]);
    assert_eq!(dir.steps().len(), dir.folded().steps.len());
    assert!(server.state().runs.is_empty());
    // A journal that holds a whole run, which nobody was told of.
    dir.finish(&["mlflow.uri=http://127.0.0.1:9"]);
    server.set(Mood::Up);
    let again = dir.finish(&[]);
    assert!(again.stdout.contains("nothing to do"), "{again:?}");
    let run = server.only_run();
    check_has_all(&run, &dir);
    assert_eq!((run.statuses.last().map(String::as_str), run.artifacts.len()), (Some("FINISHED"), 1));
    let asked = server.state().asked;
    dir.finish(&[]);
    assert_eq!(server.state().asked, asked, "what was told is told again");
}

#[test]
fn values_whose_answer_was_lost_are_not_there_twice() {
    let server = Server::start(Mood::Up);
    let dir = server.work_dir(&["--epochs", "400"]);
    let child = dir.start_until_step(60, &[]);
    wait(|| server.state().runs.first().is_some_and(|run| !run.metrics.is_empty()));
    server.set(Mood::Forgetful);
    let count = server.only_run().metrics.len();
    wait(|| server.only_run().metrics.len() > count);
    server.set(Mood::Up);
    wait(|| server.only_run().metrics.len() > count + 50);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143);
    check_has_all(&server.only_run(), &dir);
}

#[test]
fn a_server_that_says_nothing_or_nonsense_delays_no_step() {
    for (mood, words) in
        [(Mood::Silent, "MLflow"), (Mood::Nonsense, "as no MLflow server does (it is not JSON)")]
    {
        let server = Server::start(mood);
        let dir = server.work_dir(&["--epochs", "60"]);
        let child = dir.start_until_step(200, &[]);
        let since = Instant::now();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ended = Ended::of_child(child).check_code(130).check_says(&[words]);
        assert!(since.elapsed() < Duration::from_secs(15), "{mood:?}: {ended:?}");
    }
}

#[test]
fn a_diverged_run_has_failed() {
    let server = Server::start(Mood::Up);
    let dir = server.work_dir(&[
        "--epochs",
        "2",
        "optimizer.kind=sgd",
        "optimizer.lr=1e30",
        "train.max_refused_steps=2",
    ]);
    dir.run(&[]).check_code(6);
    assert_eq!(server.only_run().statuses, ["RUNNING", "FAILED"]);
}

#[test]
fn a_sweep_asks_which_trials_are_finished_on_other_machines() {
    let server = Server::start(Mood::Up);
    let text = format!(
        "threads = 1\ndevice = \"cpu\"\nspin = false\nmodel.builtin = \"mlp\"\ntrain.epochs = 1\nmlflow.uri = \
         \"{}\"\n[sweep]\nask_mlflow = true\n[sweep.space]\nseed = [1, 2]\n",
        server.uri
    );
    let sweep = |folder: &tempfile::TempDir, more: &[&str]| {
        let file = folder.path().join("sweep.toml");
        fs::write(&file, &text).unwrap();
        let mut command = trainer(["sweep", "--json", "--config"]);
        Ended::of(command.arg(file).arg("--work-dir").arg(folder.path().join("sweep")).args(more))
    };
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sweep(&there, &["--only", "seed=2"]).check_code(0);
    let ended = sweep(&here, &[]).check_code(0);
    let json: Json = serde_json::from_str(&ended.stdout).unwrap();
    let states: Vec<&str> =
        json["trials"].as_array().unwrap().iter().filter_map(|trial| trial["state"].as_str()).collect();
    assert_eq!(states, ["finished", "elsewhere"]);
    assert_eq!(server.state().runs.len(), 2);
}

#[track_caller]
fn wait(is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "it never came to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}
