//! Memory that runs out, for real: under a limit on the address space, and under a control group's.

use crate::control_group::ControlGroup;
use crate::data_files::{npy_f32, npy_i64, npz};
use crate::work_dir::{Ended, WorkDir};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use trainer::train::event::{Event, MicroBatchChanged};

const EXAMPLES: usize = 128;

/// A limit on the address space under which the program has room for half a batch and not for a whole one, in MB.
const LIMIT_MB: u64 = 300;

/// One epoch of two steps of the builtin convolutional network on images so large that a whole batch of 64 takes some
/// 350 MB, of which half go with half the batch.
fn large_images(more: &[&str]) -> WorkDir {
    const SIDE: usize = 64;
    let mut dir =
        WorkDir::new(&["model.builtin=cnn", "train.epochs=1", "train.batch_size=64", "memory.watch=false"]);
    let images: Vec<f32> = (0..EXAMPLES * SIDE * SIDE).map(|i| (i * 37 % 255) as f32 / 255.0).collect();
    let labels: Vec<i64> = (0..EXAMPLES as i64).map(|i| i % 10).collect();
    let members = [("x", npy_f32(&[EXAMPLES, 1, SIDE, SIDE], &images)), ("y", npy_i64(&labels))];
    let data = dir.write("large.npz", npz(&members));
    dir.add(&[&format!("data.train={data}"), "data.inputs.x={array=\"x\"}", "data.targets.y={array=\"y\"}"]);
    dir.add(&["schedule.kind=constant"]);
    dir.add(more);
    dir
}

/// The run under a limit on the address space, in MB.
fn limited(dir: &WorkDir, limit_mb: u64, more: &[&str]) -> Command {
    let inner = dir.command(more);
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={}", limit_mb * 1_000_000)).arg(inner.get_program()).args(inner.get_args());
    // An address space is used up by the arenas of threads long before memory is.
    command.env("MALLOC_ARENA_MAX", "1").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn changes(dir: &WorkDir) -> Vec<MicroBatchChanged> {
    let changed = |event| if let Event::MicroBatchChanged(changed) = event { Some(changed) } else { None };
    dir.events().into_iter().filter_map(changed).collect()
}

/// That the losses are those of a run that used this micro-batch from the start.
#[track_caller]
fn check_equals_run_with(dir: &WorkDir, micro_batch: u64, eval_batch: u64) {
    let whole = large_images(&["--micro-batch", &micro_batch.to_string()]);
    whole.finish(&[&format!("train.eval_batch_size={eval_batch}")]);
    whole.result().check_trained_alike(dir.result());
}

#[test]
fn a_batch_that_does_not_fit_is_computed_in_smaller_parts_with_the_same_losses() {
    let dir = large_images(&[]);
    let ended = Ended::of(&mut limited(&dir, LIMIT_MB, &[])).check_code(0);
    let changes = changes(&dir);
    let last = changes.last().unwrap_or_else(|| panic!("the whole batch did fit:\n{}", ended.stderr));
    assert!(last.micro_batch < 64 && last.step == 0, "{changes:?}");
    ended.check_says(&["BatchNormalization takes its statistics over micro-batches of"]);
    check_equals_run_with(&dir, last.micro_batch, last.eval_batch);
}

#[test]
fn where_the_settings_say_stop_memory_that_runs_out_ends_the_run_with_7() {
    let dir = large_images(&["memory.on_oom=stop"]);
    let ended = Ended::of(&mut limited(&dir, LIMIT_MB, &[])).check_code(7);
    ended.check_says(&["out of memory", "train.micro_batch"]);
    dir.finish(&["--micro-batch", "4"]);
}

#[test]
fn the_largest_micro_batch_that_fits_is_found_before_the_first_step_and_kept_by_a_resume() {
    let dir = large_images(&["--micro-batch", "auto"]);
    Ended::of(&mut limited(&dir, LIMIT_MB, &["--max-steps", "1"])).check_code(0);
    let [found] = &changes(&dir)[..] else { panic!("{:?}", changes(&dir)) };
    assert!(found.micro_batch < 64 && found.micro_batch > 1 && found.step == 0, "{found:?}");
    // Without the limit more would fit; the journal's word counts.
    dir.finish(&["--max-steps", "2"]);
    assert_eq!(changes(&dir).len(), 1);
    check_equals_run_with(&dir, found.micro_batch, found.eval_batch);
}

#[test]
fn a_kill_for_memory_is_survived_with_half_the_micro_batch() {
    // Besides what is mapped from files, a whole batch takes some 290 MB, half of one 160.
    let Some(group) = ControlGroup::with_limit(230_000_000) else { return };
    let dir = large_images(&["--supervise"]);
    let ended = Ended::of(&mut group.run(&dir.command(&[]))).check_code(0);
    ended.check_says(&[
        "supervisor: the worker was killed by SIGKILL for want of memory",
        "starting again with half the micro-batch",
    ]);
    let changes = changes(&dir);
    let last = changes.last().expect("smaller micro-batches are journaled");
    assert!(last.micro_batch < 64 && last.reason.contains("killed the process"), "{changes:?}");
}

/// Run by the test below in a process of its own: takes memory, 10 MB at a time, and keeps it.
#[test]
#[ignore = "takes memory until it is ended"]
fn hog() {
    if std::env::var_os("MEMORY_TEST_HOG").is_none() {
        return;
    }
    let mut taken = Vec::new();
    for _ in 0..1000 {
        taken.push(vec![1_u8; 10_000_000]);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn memory_that_is_about_to_run_out_is_journaled_and_the_state_saved() {
    let Some(group) = ControlGroup::with_limit(600_000_000) else { return };
    let dir = WorkDir::new(&["model.builtin=mlp", "train.epochs=4000", "schedule.kind=constant"]);
    let mut command = group.run(&dir.command(&[]));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let wait_for = |words: &str, found: &dyn Fn() -> bool| {
        let since = Instant::now();
        while !found() {
            assert!(since.elapsed() < Duration::from_secs(60), "{words}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for("20 steps", &|| dir.steps().len() >= 20);
    let mut hog = Command::new(std::env::current_exe().unwrap());
    hog.args(["--exact", "memory::hog", "--ignored"]).env("MEMORY_TEST_HOG", "");
    let mut hog = group.run(&hog).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The machine may run short as well, for reasons of its own.
    let episodes = || {
        let of_group =
            |event: &Event| matches!(event, Event::MemoryPressure(found) if found.scope == "control group");
        dir.events().iter().filter(|event| of_group(event)).count()
    };
    wait_for("pressure in the journal", &|| episodes() > 0);
    hog.kill().unwrap();
    hog.wait().unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = Ended::of_child(child).check_code(143);
    ended.check_says(&["memory is running out (control group: ", "saved step "]);
    assert_eq!(episodes(), 1, "one episode is told once");
}

#[test]
fn a_crashed_worker_is_started_again_and_one_that_gets_nowhere_is_given_up() {
    let settings = ["model.builtin=mlp", "train.epochs=300", "schedule.kind=constant", "--supervise"];
    let dir = WorkDir::new(&settings);
    let child = dir.start_until_step(30, &[]);
    let worker = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let worker = Pid::from_raw(worker.split_whitespace().next().unwrap().parse().unwrap());
    kill_process(worker.unwrap(), Signal::ABORT).unwrap();
    let ended = Ended::of_child(child).check_code(0);
    ended.check_says(&[
        "supervisor: the worker was killed by SIGABRT",
        "Previous attempt: killed by SIGABRT at step ",
    ]);
    assert!(
        dir.events().iter().any(|event| matches!(event, Event::WorkerDied(died) if died.signal == Some(6)))
    );

    let hopeless = WorkDir::new(&["--supervise", "--max-restarts", "1", "--ort-lib", "/dev/null"]);
    let ended = hopeless.run(&[]).check_code(75);
    ended.check_says(&["starting again in 1 s", "giving up, because it made no progress"]);
}

#[test]
fn a_supervised_run_is_stopped_by_one_signal_to_the_supervisor() {
    let dir =
        WorkDir::new(&["model.builtin=mlp", "train.epochs=4000", "schedule.kind=constant", "--supervise"]);
    let child = dir.start_until_step(30, &[]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143).check_says(&["SIGTERM received: ", "Saved step "]);
}

#[test]
fn when_the_supervisor_is_killed_its_worker_saves_and_ends() {
    let dir =
        WorkDir::new(&["model.builtin=mlp", "train.epochs=4000", "schedule.kind=constant", "--supervise"]);
    let mut child = dir.start_until_step(30, &[]);
    child.kill().unwrap();
    // The worker has the pipes, too: they end with it.
    assert_eq!(Ended::of_child(child).killed_by, Some(9));
    let stopped = dir.events().into_iter().rev().find(|event| matches!(event, Event::SignalReceived(_)));
    assert!(stopped.is_some(), "the worker was not told");
}
