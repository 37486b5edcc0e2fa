//! Signals in every phase, to the real program: what is said, the exit code, and that the next process goes on.

use crate::work_dir::{Ended, WorkDir};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use trainer::train::event::Event;
use trainer_runtime::checkpoint::Kind;

fn send(signal: Signal, child: &Child) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A run of the builtin perceptron with steps of about a millisecond, and many of them.
fn long_run(more: &[&str]) -> WorkDir {
    let mut dir = WorkDir::new(&["model.builtin=mlp", "train.epochs=400", "schedule.kind=constant"]);
    dir.add(more);
    dir
}

/// The line of standard error that contains this, read as it comes.
fn line_with(child: &mut Child, words: &str) -> String {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the process ended and never said {words:?}");
    }
    // What follows is drained, so that the process is not held up.
    thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
    line
}

fn piped(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn the_first_signal_is_answered_at_once_with_step_times_and_grace() {
    let dir = long_run(&[]);
    let mut child = dir.start_until_step(30, &["--grace", "40"]);
    send(Signal::TERM, &child);
    let line = line_with(&mut child, "received");
    let step = line.strip_prefix("SIGTERM received: ").unwrap_or_else(|| panic!("{line}"));
    assert!(step.starts_with("saving step ") || step.contains("is saved already"), "{line}");
    assert!(line.contains("grace 40 s)"), "{line}");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_signal_is_journaled_with_the_step_at_which_it_came() {
    let dir = long_run(&[]);
    let child = dir.start_until_step(30, &[]);
    // Not SIGHUP: where the tests were started under `nohup`, it is ignored, and stays so.
    send(Signal::TERM, &child);
    Ended::of_child(child).check_code(143);
    let received = dir.events().into_iter().find_map(|event| match event {
        Event::SignalReceived(received) => Some(received),
        _ => None,
    });
    let received = received.expect("the signal is journaled");
    assert_eq!((received.signal.as_str(), received.step), ("SIGTERM", dir.steps().last().unwrap().step));
}

#[test]
fn a_step_that_is_saved_already_is_not_saved_again() {
    let dir = long_run(&["checkpoint.every_steps=1", "checkpoint.keep_last=1000"]);
    let child = dir.start_until_step(30, &[]);
    send(Signal::TERM, &child);
    Ended::of_child(child).check_code(143);
    let last = dir.checkpoints().into_iter().next_back().unwrap();
    let of_last_step = dir.checkpoints().into_iter().filter(|name| name.step == last.step).count();
    assert_eq!(of_last_step, 1, "{:?}", dir.checkpoints());
}

#[test]
fn a_second_signal_leaves_at_once_and_names_the_last_durable_step() {
    let dir = long_run(&[]);
    let mut child = dir.start_until_step(30, &[]);
    // The first stops the work only when it has been seen; stopped by SIGSTOP, the process sees both at once.
    send(Signal::STOP, &child);
    send(Signal::INT, &child);
    send(Signal::TERM, &child);
    send(Signal::CONT, &child);
    let line = line_with(&mut child, "leaving at once");
    let code = child.wait().unwrap().code();
    assert!(code == Some(130) || code == Some(143), "{code:?}");
    let saved = ["is saved. Run the same", "no step is saved yet. Run the same"];
    assert!(saved.iter().any(|words| line.contains(words)), "{line}");
    dir.finish(&["--max-steps", "40"]);
}

#[test]
fn sigusr1_saves_and_stops_where_it_is_told_to() {
    let dir = long_run(&["--usr1", "stop"]);
    let child = dir.start_until_step(30, &[]);
    send(Signal::USR1, &child);
    Ended::of_child(child).check_code(138).check_says(&["SIGUSR1 received: ", "Saved step "]);
    let last = dir.checkpoints().into_iter().next_back().unwrap();
    assert!(matches!(last.kind, Kind::Emergency(_)) || last.step.is_multiple_of(23), "{last}");
    let again = dir.start_until_step(last.step + 1, &[]);
    send(Signal::TERM, &again);
    let ended = Ended::of_child(again).check_code(143);
    ended.check_says(&["Previous attempt: ended because SIGUSR1 asked it to stop"]);
}

#[test]
fn sigusr2_prints_a_line_and_the_run_goes_on() {
    let dir = long_run(&[]);
    let mut child = dir.start_until_step(30, &[]);
    // On a busy machine the checkpoint of the first epoch may take longer than the steps behind it. When the second one is
    // there, the loop has heard of the first.
    let is_durable = |event: &Event| matches!(event, Event::CheckpointDurable(_));
    while dir.events().iter().filter(|event| is_durable(event)).count() < 2 {
        thread::sleep(Duration::from_millis(1));
    }
    send(Signal::USR2, &child);
    let line = line_with(&mut child, " is saved (");
    assert!(line.contains("epoch ") && line.contains("loss ") && line.contains("s per step"), "{line}");
    assert!(child.try_wait().unwrap().is_none(), "the run ended");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Sends a signal after this time from the start, in whichever phase that is, and lets the run end.
#[track_caller]
fn check_at(dir: &WorkDir, after: Duration, signal: Signal, code: i32) {
    let child = piped(dir.command(&["--max-steps", "60"]));
    thread::sleep(after);
    send(signal, &child);
    let ended = Ended::of_child(child);
    if ended.killed_by.is_some() {
        // It came before the first instruction of the program.
        assert_eq!((ended.killed_by, ended.stderr.as_str()), (Some(code - 128), ""));
    } else if ended.code == Some(code) {
        let said = &ended.stderr;
        assert!(said.contains("Saved step ") || said.contains("nothing new to save"), "{said}");
    } else {
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn a_signal_in_any_phase_ends_with_its_code_and_a_sentence() {
    let dir = long_run(&[]);
    for (attempt, (signal, code)) in
        [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)].into_iter().cycle().take(18).enumerate()
    {
        check_at(&dir, Duration::from_millis(attempt as u64 * 9), signal, code);
    }
    dir.finish(&["--max-steps", "60"]);
    let undisturbed = long_run(&[]);
    undisturbed.finish(&["--max-steps", "60"]);
    dir.result().check_equals(&undisturbed.result());
}

#[test]
fn while_the_library_is_being_fetched_a_signal_ends_the_process_and_its_client() {
    let dir = WorkDir::new(&[]);
    // A package client that never comes to an end stands for a slow network.
    let bin = dir.make_folder("bin");
    let python = bin.join("python3");
    std::fs::write(&python, "#!/bin/sh\necho $$ > \"$CLIENT_PID\"\nexec sleep 600\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&python, executable).unwrap();
    let pid_file = dir.path().with_file_name("client.pid");
    let mut command = dir.command(&[]);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env("CLIENT_PID", &pid_file);
    command.env("XDG_CACHE_HOME", dir.make_folder("cache")).env_remove("ORT_DYLIB_PATH");
    command.env_remove("LD_LIBRARY_PATH");
    let mut child = piped(command);
    let since = Instant::now();
    let client = loop {
        let pid = std::fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok());
        if let Some(pid) = pid {
            break pid;
        }
        if child.try_wait().unwrap().is_some() || since.elapsed() > Duration::from_secs(30) {
            // A library of the system's own is found first: nothing is fetched here.
            child.kill().unwrap();
            assert!(Ended::of_child(child).stderr.contains("ONNX Runtime 1."), "nothing was fetched");
            return;
        }
        thread::sleep(Duration::from_millis(5));
    };
    send(Signal::TERM, &child);
    let ended = Ended::of_child(child).check_code(143);
    ended.check_says(&["SIGTERM received while fetching or loading ONNX Runtime: nothing new to save"]);
    while rustix::process::test_kill_process(Pid::from_raw(client).unwrap()).is_ok() {
        assert!(since.elapsed() < Duration::from_secs(60), "the client outlives the process");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn under_nohup_a_hangup_changes_nothing() {
    let dir = long_run(&["--max-steps", "300"]);
    let inner = dir.command(&[]);
    let mut command = Command::new("nohup");
    command.arg(inner.get_program()).args(inner.get_args()).env_remove("RUST_LOG");
    let child = piped(command);
    let since = Instant::now();
    while dir.steps().len() < 20 && since.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(2));
    }
    send(Signal::HUP, &child);
    Ended::of_child(child).check_code(0);
    assert_eq!(dir.steps().len(), 300);
}

#[test]
fn as_process_1_of_a_container_the_signals_mean_the_same() {
    let dir = long_run(&[]);
    let inner = dir.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--"]).arg(inner.get_program()).args(inner.get_args());
    let mut child = piped(command);
    let since = Instant::now();
    while dir.steps().len() < 20 {
        if child.try_wait().unwrap().is_some() {
            // Without the right to make a namespace there is nothing to test.
            let said = Ended::of_child(child).stderr;
            assert!(said.contains("unshare"), "{said}");
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "20 steps were not reached");
        thread::sleep(Duration::from_millis(2));
    }
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let process_1 = Pid::from_raw(children.split_whitespace().next().unwrap().parse().unwrap()).unwrap();
    kill_process(process_1, Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143).check_says(&["SIGTERM received: ", "Saved step "]);
}
