//! `trainer sweep`: many runs, of which any process may die.

use crate::work_dir::{Ended, trainer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use trainer::report::recorded::Recorded;

mod obstacles;

/// Longest time that a test waits; only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings below every space: a small network on one thread.
const BASE: &str =
    "threads = 1\ndevice = \"cpu\"\nspin = false\nmodel.builtin = \"mlp\"\nschedule.kind = \"constant\"\n";

/// A folder with a `sweep.toml` and the folder of its sweep.
struct Sweep {
    folder: TempDir,
}

impl Sweep {
    fn of(text: &str) -> Self {
        let sweep = Self { folder: TempDir::new().unwrap() };
        sweep.write(text);
        sweep
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("sweep.toml"), format!("{BASE}{text}")).unwrap();
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("sweep")
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = trainer(["sweep", "--config"]);
        command.arg(self.folder.path().join("sweep.toml")).arg("--work-dir").arg(self.dir()).args(more);
        command
    }

    #[track_caller]
    fn run(&self, more: &[&str]) -> Ended {
        Ended::of(&mut self.command(more))
    }

    fn start(&self, more: &[&str]) -> Child {
        self.command(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn recorded(&self, name: &str) -> Option<Recorded> {
        Recorded::read(&self.dir().join(name)).ok()
    }

    #[track_caller]
    fn wait_for_step(&self, name: &str, step: u64) {
        let since = Instant::now();
        while self.recorded(name).is_none_or(|recorded| recorded.history.last_step() < step) {
            assert!(since.elapsed() < PATIENCE, "{name} did not reach step {step}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The bits of each step's loss, and in how many attempts they were computed.
    #[track_caller]
    fn losses(&self, name: &str) -> (Vec<u32>, u64) {
        let history = self.recorded(name).expect("a run").history;
        (history.steps.values().map(|step| step.loss_bits).collect(), history.attempts)
    }
}

/// The states of the trials, from `--json`.
#[track_caller]
fn states(ended: &Ended) -> Vec<String> {
    let json: Json = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let trials = json["trials"].as_array().unwrap();
    trials.iter().map(|trial| trial["state"].as_str().unwrap().to_owned()).collect()
}

fn is_started(ended: &Ended) -> usize {
    ended.stderr.lines().filter(|line| line.contains(" started")).count()
}

const GRID: &str =
    "train.epochs = 2\n[sweep]\nname = \"lr={lr}\"\n[sweep.space]\noptimizer.lr = [0.001, 0.01, 0.003]\n";

#[test]
fn a_failed_trial_hides_no_other_and_is_tried_again_only_on_request() {
    let broken = r#"{ "model.onnx" = "m.onnx", "data.builtin" = "digits", "data.inputs.images.array" = "images", "data.targets.y.array" = "labels" }"#;
    let text = &format!(
        "train.epochs = 1\n[sweep]\nname = \"{{kind}}\"\n[sweep.space]\nkind = {{ a = {{ seed = 1 }}, broken = {broken}, c = {{ seed \
         = 2 }} }}\n"
    );
    let sweep = Sweep::of(text);
    let first = sweep.run(&[]).check_code(1);
    assert!(first.stdout.contains("trial 2 failed (exit code 2): "), "{}", first.stdout);
    assert!(first.stdout.contains("`--retry-failed` runs what has failed again"), "{}", first.stdout);
    assert!(first.stdout.contains("m.onnx") && first.stdout.contains("best: trial "), "{}", first.stdout);
    assert_eq!(is_started(&first), 3);
    let second = sweep.run(&["--json"]).check_code(1);
    assert_eq!(
        (is_started(&second), states(&second)),
        (0, vec!["finished".to_owned(), "failed".into(), "finished".into()])
    );
    fs::copy(sweep.dir().join("a/model.onnx"), sweep.folder.path().join("m.onnx")).unwrap();
    assert_eq!(is_started(&sweep.run(&[]).check_code(1)), 0);
    let third = sweep.run(&["--retry-failed", "--json"]).check_code(0);
    assert_eq!((is_started(&third), states(&third)), (1, vec!["finished".to_owned(); 3]));
    assert_eq!(is_started(&sweep.run(&["--retry-failed"]).check_code(0)), 0);
}

#[test]
fn a_killed_sweep_goes_on_with_the_bits_of_an_undisturbed_one() {
    let text = "train.epochs = 12\n[sweep]\nname = \"{seed}\"\n[sweep.space]\nseed = [1, 2]\n";
    let undisturbed = Sweep::of(text);
    undisturbed.run(&["--jobs", "2"]).check_code(0);
    let sweep = Sweep::of(text);
    let mut child = sweep.start(&[]);
    sweep.wait_for_step("1", 60);
    let worker = Recorded::standing(&sweep.recorded("1").unwrap(), &sweep.dir().join("1")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    if let trainer::report::recorded::Standing::Running(holder) = worker {
        // With the sweep gone it is already saving; a kill in the midst of that loses nothing either.
        _ = kill_process(Pid::from_raw(holder.pid.unwrap() as i32).unwrap(), Signal::KILL);
    }
    let again = sweep.run(&["--json"]).check_code(0);
    assert_eq!(states(&again), ["finished", "finished"]);
    for name in ["1", "2"] {
        assert_eq!(sweep.losses(name).0, undisturbed.losses(name).0, "{name}");
    }
    assert!(sweep.losses("1").1 > 1, "trial 1 was not interrupted");
}

#[test]
fn trials_end_with_their_sweep_and_are_not_left_behind() {
    let sweep = Sweep::of("train.epochs = 500\n[sweep]\nname = \"{seed}\"\n[sweep.space]\nseed = [1]\n");
    let mut child = sweep.start(&[]);
    sweep.wait_for_step("1", 30);
    child.kill().unwrap();
    child.wait().unwrap();
    let since = Instant::now();
    let lock = || trainer_runtime::lock::WorkDirLock::holder(&sweep.dir().join("1")).unwrap();
    while lock().is_some() {
        assert!(since.elapsed() < PATIENCE, "the trial goes on without its sweep");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(sweep.recorded("1").unwrap().history.finished.is_none());
}

#[test]
fn ctrl_c_stops_all_trials_with_their_state_saved_and_the_same_command_goes_on() {
    let sweep = Sweep::of("train.epochs = 25\n[sweep]\nname = \"{seed}\"\n[sweep.space]\nseed = [1, 2, 3]\n");
    let child = sweep.start(&["--jobs", "2", "--json"]);
    sweep.wait_for_step("1", 30);
    sweep.wait_for_step("2", 1);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let stopped = Ended::of_child(child).check_code(130);
    assert_eq!(states(&stopped), ["interrupted", "interrupted", "new"]);
    for name in ["1", "2"] {
        let history = sweep.recorded(name).unwrap().history;
        let saved = fs::read_dir(sweep.dir().join(name).join("checkpoints")).unwrap();
        let step = format!("step-{:08}", history.last_step());
        assert!(
            saved.into_iter().any(|file| file.unwrap().file_name().to_str().unwrap().contains(&step)),
            "{name}: {step}"
        );
    }
    let again = sweep.run(&["--jobs", "2", "--json"]).check_code(0);
    assert_eq!(states(&again), ["finished", "finished", "finished"]);
    assert_eq!(sweep.losses("1").0.len(), 25 * 23);
}

#[test]
fn a_deleted_trial_runs_again_and_only_picks() {
    let sweep = Sweep::of(GRID);
    let only = sweep.run(&["--only", "lr=1e-3", "--json"]).check_code(0);
    assert_eq!((is_started(&only), states(&only)), (1, vec!["finished".to_owned()]));
    assert!(!sweep.dir().join("lr=0.01").exists());
    sweep.run(&["--only", "lrr=1"]).check_code(2).check_says(&["there are optimizer.lr"]);
    sweep
        .run(&["--only", "lr=7"])
        .check_code(2)
        .check_says(&["no trial has it; there are 0.001, 0.003, 0.01"]);
    assert_eq!(is_started(&sweep.run(&["--only", "optimizer.lr=0.01,lr=0.001"]).check_code(0)), 1);
    sweep.run(&[]).check_code(0);
    let (losses, _) = sweep.losses("lr=0.01");
    fs::remove_dir_all(sweep.dir().join("lr=0.01")).unwrap();
    let again = sweep.run(&[]).check_code(0);
    assert_eq!((is_started(&again), sweep.losses("lr=0.01")), (1, (losses, 1)));
}

#[test]
fn of_processes_that_race_for_trials_one_runs_each() {
    let seeds: Vec<String> = (1..=6).map(|seed| seed.to_string()).collect();
    let text = format!(
        "train.epochs = 1\n[sweep]\nname = \"{{seed}}\"\n[sweep.space]\nseed = [{}]\n",
        seeds.join(", ")
    );
    let sweep = Sweep::of(&text);
    // Two steps of a job array for each trial, at the same time, with no plan there yet.
    let racers: Vec<Child> = seeds
        .iter()
        .flat_map(|number| [number, number])
        .map(|number| sweep.start(&["--trial", number]))
        .collect();
    let ended: Vec<Ended> = racers.into_iter().map(Ended::of_child).collect();
    for pair in ended.chunks(2) {
        let started: usize = pair.iter().map(is_started).sum();
        assert_eq!(started, 1, "{pair:?}");
        // The other one found it taken, or finished.
        assert!(pair.iter().all(|ended| matches!(ended.code, Some(0 | 3))), "{pair:?}");
    }
    // And whole sweeps that share a folder.
    let more = Sweep::of(&text);
    let sharers: Vec<Child> = (0..3).map(|_| more.start(&[])).collect();
    let started: usize = sharers.into_iter().map(|child| is_started(&Ended::of_child(child))).sum();
    assert_eq!(started, 6);
    for number in &seeds {
        assert_eq!((sweep.losses(number).1, more.losses(number).1), (1, 1), "trial {number} was run twice");
    }
    assert_eq!(is_started(&more.run(&[]).check_code(0)), 0);
}

#[test]
fn one_trial_ends_as_its_run_does() {
    let sweep = Sweep::of("train.epochs = 500\n[sweep]\nname = \"{seed}\"\n[sweep.space]\nseed = [1, 2]\n");
    let child = sweep.start(&["--trial", "2"]);
    sweep.wait_for_step("2", 20);
    let second = sweep.run(&["--trial", "2"]).check_code(3);
    assert!(second.stderr.contains("is with process "), "{second:?}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143);
    sweep.run(&["--trial", "3"]).check_code(2).check_says(&["trials 1 to 2"]);
    assert!(!sweep.dir().join("1").exists());
}

#[test]
fn halving_drops_the_worse_and_takes_the_others_further() {
    let sweep = Sweep::of(
        "train.epochs = 4\n[sweep]\nmethod = \"halving\"\nfactor = 2\nname = \"{lr}\"\n[sweep.space]\noptimizer.lr = [1e-5, \
         1e-3, 1e-2, 1e-4]\n",
    );
    let ended = sweep.run(&["--json"]).check_code(0);
    assert_eq!(states(&ended), ["dropped", "dropped", "finished", "dropped"], "{}", ended.stderr);
    let epochs = |name: &str| sweep.recorded(name).unwrap().history.epochs.len();
    assert_eq!([epochs("1e-5"), epochs("0.001"), epochs("0.01"), epochs("0.0001")], [1, 2, 4, 1]);
    let decision = fs::read_to_string(sweep.dir().join("rungs/0001.json")).unwrap();
    let decision: Json = serde_json::from_str(&decision).unwrap();
    assert_eq!(decision["survivors"], serde_json::json!([2, 3]));
    let again = sweep.run(&["--json"]).check_code(0);
    assert_eq!((is_started(&again), states(&again)), (0, states(&ended)));
    // A decision holds even if what it was made of is gone.
    fs::remove_dir_all(sweep.dir().join("1e-5")).unwrap();
    assert_eq!(is_started(&sweep.run(&[]).check_code(0)), 0);
}

#[test]
fn an_interrupted_halving_decides_as_an_undisturbed_one() {
    let text = "train.epochs = 9\n[sweep]\nmethod = \"halving\"\nname = \"{lr}\"\n[sweep.space]\noptimizer.lr = [1e-3, 1e-2, \
                3e-3]\n";
    let undisturbed = Sweep::of(text);
    let expected = undisturbed.run(&["--json"]).check_code(0);
    let sweep = Sweep::of(text);
    let mut child = sweep.start(&[]);
    sweep.wait_for_step("0.01", 30);
    child.kill().unwrap();
    child.wait().unwrap();
    let again = sweep.run(&["--json"]).check_code(0);
    assert_eq!(states(&again), states(&expected));
    assert_eq!(sweep.losses("0.01").0, undisturbed.losses("0.01").0);
}

#[test]
fn a_wrong_file_is_told_whole_and_leaves_nothing() {
    let sweep =
        Sweep::of("[sweep]\nmethd = 'grid'\n[sweep.space]\n'optimizer.lrr' = [1]\n'train.epochs' = [0]\n");
    let wrong = sweep.run(&[]).check_code(2);
    wrong.check_says(&["did you mean `method`?", "did you mean `optimizer.lr`?"]);
    sweep.write("[sweep]\nname = '{sed}'\n[sweep.space]\nseed = [1]\n");
    sweep.run(&[]).check_code(2).check_says(&["did you mean {seed}?"]);
    sweep.write(GRID);
    let dry = sweep.run(&["--dry-run"]).check_code(0);
    assert!(dry.stdout.contains("lr=0.003") && dry.stdout.contains("nothing was run"), "{}", dry.stdout);
    assert!(!sweep.dir().exists());
    Ended::of(&mut trainer(["sweep", "--config", "/nowhere/sweep.toml", "--work-dir", "x"])).check_code(2);
}

#[test]
fn another_space_is_refused_and_a_larger_one_is_gone_on_with() {
    let sweep = Sweep::of(GRID);
    sweep.run(&["--only", "lr=0.001"]).check_code(0);
    sweep.write(&GRID.replace("epochs = 2", "epochs = 3").replace("0.003", "0.004"));
    let refused = sweep.run(&[]).check_code(4);
    refused.check_says(&["train.epochs: 2 -> 3", "trial 3 (lr=0.003) is gone"]);
    sweep.write(&GRID.replace("[0.001", "[0.002, 0.001"));
    let more = sweep.run(&["--json"]).check_code(0);
    assert_eq!((is_started(&more), states(&more).len()), (3, 4));
    assert!(Path::new(&sweep.dir().join("lr=0.002/model.onnx")).is_file());
}
