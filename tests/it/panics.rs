//! A panic, on the thread that trains or on another: what was committed is durable when the process ends.

use crate::work_dir::{Ended, WorkDir};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use trainer::config::{Sources, fingerprint, load, to_toml};
use trainer::engine::session::Place;
use trainer::train::control::Control;
use trainer::train::event::{Environment, EpochDone, Event, RunStarted};
use trainer::train::keeper::Keeper;
use trainer::train::observe::{Observer, StepProgress};
use trainer::train::outcome::RunError;
use trainer::train::prepare::prepare;
use trainer::train::run::{Context, run};
use trainer::train::saved::Saved;
use trainer_runtime::disk::RealDisk;

/// Panics, or has another thread panic, when a step is told of.
struct Panicking {
    at_step: u64,
    elsewhere: bool,
}

impl Observer for Panicking {
    fn step(&mut self, progress: &StepProgress) {
        if progress.step != self.at_step {
            return;
        }
        if self.elsewhere {
            let thread = std::thread::Builder::new().name("somebody".to_owned());
            let panicked = thread.spawn(|| panic!("a panic elsewhere")).unwrap().join();
            assert!(panicked.is_err());
        } else {
            panic!("a panic in an observer");
        }
    }
    fn epoch(&mut self, _: &EpochDone, _: u64) {}
    fn notice(&mut self, line: &str) {
        eprintln!("{line}");
    }
}

/// Run by the tests below in a process of its own: trains with an observer that panics.
#[test]
#[ignore = "is the process that panics"]
fn panicking_process() {
    let Some(work_dir) = std::env::var_os("PANIC_TEST_DIR") else { return };
    let elsewhere = std::env::var_os("PANIC_TEST_ELSEWHERE").is_some();
    let sets = ["model.builtin=mlp", "spin=false", "device=cpu", "threads=1", "memory.watch=false"];
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    let plan = load(&Sources { sets, ..Sources::default() }).unwrap().plan;
    let runtime = crate::runtime_library::runtime();
    let control = Control::default();
    let disk = RealDisk::shared();
    let opened = Keeper::open(disk, Path::new(&work_dir), &plan.checkpoint, control.status()).unwrap();
    let mut keeper = opened.keeper;
    let mut prepared = prepare(plan, runtime, Place::Cpu, None).unwrap();
    let settings = to_toml(&prepared.plan);
    let environment = Environment {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        onnxruntime: runtime.version.clone(),
        device: "cpu".to_owned(),
        threads: 1,
    };
    let data_lock = serde_json::to_string(&prepared.data_lock).unwrap();
    let model_crc32 = prepared.model_crc32;
    keeper.record(Event::RunStarted(RunStarted { settings, environment, data_lock, model_crc32 })).unwrap();
    let saved = Saved::start(fingerprint(&prepared.plan));
    let context = Context {
        keeper: &mut keeper,
        control: &control,
        observer: &mut Panicking { at_step: 7, elsewhere },
        attempt: 1,
        recorded: BTreeMap::new(),
        batchings: BTreeMap::new(),
        batching_reason: None,
        warned_of_statistics: false,
    };
    let error = run(&mut prepared, saved, context).unwrap_err();
    assert!(matches!(error, RunError::Panicked { .. }), "{error}");
    eprintln!("ended: {error}");
    std::process::exit(1);
}

#[track_caller]
fn check_panic(elsewhere: bool, words: &str) {
    let dir = WorkDir::new(&["model.builtin=mlp"]);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "panics::panicking_process", "--ignored", "--nocapture"]);
    command.env("PANIC_TEST_DIR", dir.path()).env("RUST_BACKTRACE", "0");
    if elsewhere {
        command.env("PANIC_TEST_ELSEWHERE", "");
    }
    std::fs::create_dir(dir.path()).unwrap();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(words) && said.contains("saved step 7 as checkpoints/emergency-error"), "{said}");
    let last = dir.checkpoints().into_iter().next_back().unwrap();
    assert_eq!((last.step, dir.steps().last().unwrap().step), (7, 7));
    let ended: Ended = dir.run(&["--max-steps", "20"]).check_code(0);
    ended.check_says(&["epoch 1, step 7 (batch 7 of 23) from checkpoints/emergency-error"]);
}

#[test]
fn a_panic_of_the_training_thread_leaves_the_last_step_saved() {
    check_panic(false, "a thread panicked: a panic in an observer");
}

#[test]
fn a_panic_of_another_thread_leaves_the_last_step_saved() {
    check_panic(true, "a thread panicked: thread `somebody`: a panic elsewhere");
}
