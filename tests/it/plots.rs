//! Pictures of a run: `trainer plot`, `trainer report`, and the readings of the clock that they need.

use crate::work_dir::{Ended, WorkDir, trainer};
use roxmltree::{Document, Node, ParsingOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use trainer::train::event::Event;
use trainer::train::history::AttemptSample;

/// Three epochs of 23 steps on the digits, stopped by a signal after step 30 and taken up again.
fn interrupted() -> WorkDir {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "3", "schedule.kind=constant"]);
    let child = dir.start_until_step(30, &[]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    Ended::of_child(child).check_code(143);
    dir.finish(&[]);
    dir
}

#[test]
fn the_clock_is_recorded_where_an_attempt_begins_and_ends_and_after_each_epoch() {
    let dir = interrupted();
    let samples = dir.folded().samples;
    let of_attempt = |attempt| -> Vec<AttemptSample> {
        samples.iter().copied().filter(|sample| sample.attempt == attempt).collect()
    };
    let (first, second) = (of_attempt(1), of_attempt(2));
    let steps = |samples: &[AttemptSample]| samples.iter().map(|sample| sample.step).collect::<Vec<_>>();
    let stopped_at = first.last().unwrap().step;
    assert!((30..69).contains(&stopped_at), "{stopped_at}");
    let ends = |from: u64, to: u64| [23, 46, 69].into_iter().filter(move |end| (from..=to).contains(end));
    let expected = |from: u64, to: u64| -> Vec<u64> {
        [from].into_iter().chain(ends(from + 1, to)).chain([to]).collect()
    };
    assert_eq!(steps(&first), expected(0, stopped_at));
    assert_eq!(steps(&second), expected(stopped_at, 69));
    assert!(samples.is_sorted_by_key(|sample| sample.unix_ms), "{samples:?}");
    assert!(samples.iter().all(|sample| sample.resident_bytes > 1 << 20), "{samples:?}");
    assert!(samples[0].unix_ms > 1_700_000_000_000, "{samples:?}");
}

/// The only test that has to wait for a clock: it sleeps, and so does the run.
#[test]
fn the_clock_is_recorded_between_steps_when_it_was_not_for_ten_seconds() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "4000", "schedule.kind=constant"]);
    let child = dir.start_until_step(30, &[]);
    let pid = Pid::from_child(&child);
    let is_between_epochs = || dir.steps().last().is_some_and(|done| (3..20).contains(&(done.step % 23)));
    // Stopped right behind the end of an epoch, its next step would be one of an epoch that has a reading of its own.
    loop {
        kill_process(pid, Signal::STOP).unwrap();
        if is_between_epochs() {
            break;
        }
        kill_process(pid, Signal::CONT).unwrap();
        std::thread::sleep(Duration::from_millis(3));
    }
    std::thread::sleep(Duration::from_millis(10_200));
    kill_process(pid, Signal::CONT).unwrap();
    let before = dir.folded().samples.len();
    let since = Instant::now();
    while dir.folded().samples.len() < before + 2 && since.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(pid, Signal::KILL).unwrap();
    Ended::of_child(child);
    let samples = dir.folded().samples;
    let pause = samples.windows(2).find(|pair| pair[1].unix_ms - pair[0].unix_ms >= 10_000);
    let step = pause.unwrap_or_else(|| panic!("{samples:?}"))[1].step;
    assert!(!step.is_multiple_of(23), "it was the end of an epoch: {step}");
}

fn look(command: &str, dirs: &[&Path], more: &[&str]) -> Ended {
    Ended::of(trainer([command]).args(dirs).args(more))
}

#[track_caller]
fn parsed(text: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// The shapes of a class.
fn of_class<'a>(document: &'a Document<'_>, class: &str) -> Vec<Node<'a, 'a>> {
    document.descendants().filter(|node| node.attribute("class") == Some(class)).collect()
}

/// The points of a line.
fn points(node: &Node<'_, '_>) -> usize {
    node.attribute("points").unwrap().split(' ').count()
}

#[test]
fn the_picture_of_an_interrupted_run_has_every_point_and_mark() {
    let dir = interrupted();
    let before = dir.result();
    let ended = look("plot", &[&dir.path()], &[]).check_code(0);
    assert_eq!(ended.stdout.trim_end(), dir.path().join("plot.svg").to_str().unwrap());
    let text = dir.read("plot.svg");
    let svg = parsed(&text);
    // Loss, accuracy, learning rate, gradient norm, memory; each mark goes through all of them.
    assert_eq!(of_class(&svg, "heading").len(), 5);
    assert_eq!((of_class(&svg, "interrupted").len(), of_class(&svg, "resumed").len()), (5, 5));
    assert!(of_class(&svg, "label").iter().any(|label| label.text() == Some("SIGTERM")), "{text}");
    assert_eq!(of_class(&svg, "best").len(), 2);
    let saved = dir.events().into_iter().filter_map(|event| match event {
        Event::CheckpointDurable(durable) => Some(durable.step),
        _ => None,
    });
    let saved: BTreeSet<u64> = saved.collect();
    assert_eq!(of_class(&svg, "checkpoint").len(), saved.len());
    let lines = of_class(&svg, "line");
    let most = lines.iter().map(points).max();
    assert_eq!(most, Some(69), "each step has a point: {text}");
    let named = |name: &str| {
        lines.iter().filter(|line| line.descendants().any(|node| node.text() == Some(name))).count()
    };
    assert_eq!((named("train, steps"), named("train, epochs"), named("validation")), (1, 1, 1));
    dir.result().check_equals(&before);
}

#[test]
fn a_png_has_the_size_that_was_asked_for_and_something_on_it() {
    let dir = interrupted();
    for (width, height) in [(400, 300), (1920, 1080)] {
        let path = dir.path().join("plot.png");
        let (across, down) = (width.to_string(), height.to_string());
        let out = path.to_str().unwrap();
        look("plot", &[&dir.path()], &["--out", out, "--width", &across, "--height", &down]).check_code(0);
        let mut reader =
            png::Decoder::new(std::io::Cursor::new(fs::read(&path).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (width, height));
        let colours: BTreeSet<&[u8]> = pixels.chunks(3).collect();
        // Blue of training, orange of validation.
        assert!(colours.contains(&[0x00, 0x72, 0xb2][..]) && colours.contains(&[0xd5, 0x5e, 0x00][..]));
    }
}

#[test]
fn what_has_no_room_is_said_and_left_out() {
    let dir = interrupted();
    let size = ["--width", "400", "--height", "300", "--json"];
    let ended = look("plot", &[&dir.path()], &size).check_code(0).check_says(&["left out: ", "--height"]);
    let json: Json = serde_json::from_str(&ended.stdout).unwrap();
    let count = |name: &str| json[name].as_array().unwrap().len();
    assert_eq!(count("panels") + count("left_out"), 5);
    assert!(count("left_out") > 0 && json["width"] == 400 && json["height"] == 300, "{json}");
    let only = look("plot", &[&dir.path()], &["--what", "lr,lr", "--json"]).check_code(0);
    let json: Json = serde_json::from_str(&only.stdout).unwrap();
    assert_eq!(json["panels"], serde_json::json!(["learning rate"]));
}

#[test]
fn several_runs_are_in_one_picture_with_a_legend() {
    let (one, two) = (interrupted(), interrupted());
    let path = one.path().join("both.svg");
    let out = path.to_str().unwrap();
    look("plot", &[&one.path(), &two.path()], &["--out", out, "--what", "loss"]).check_code(0);
    let text = fs::read_to_string(path).unwrap();
    let svg = parsed(&text);
    let legend: Vec<&str> = of_class(&svg, "legend").iter().filter_map(Node::text).collect();
    // Both folders are called `exp`, so their paths tell them apart.
    for dir in [&one, &two] {
        assert!(legend.contains(&dir.path().to_str().unwrap()), "{legend:?}");
    }
    let colours: BTreeSet<&str> =
        of_class(&svg, "line").iter().filter_map(|line| line.attribute("stroke")).collect();
    assert_eq!(colours.len(), 2);
}

#[test]
fn the_chart_on_the_terminal_fits_and_speaks_ascii_where_it_has_to() {
    let dir = interrupted();
    for (locale, is_ascii) in [("C", true), ("C.UTF-8", false)] {
        let mut command = trainer(["plot", "--terminal", "--what", "loss,metrics"]);
        command.arg(dir.path()).env("LC_ALL", locale).env("COLUMNS", "60");
        let shown = Ended::of(&mut command).check_code(0).stdout;
        assert_eq!(shown.is_ascii(), is_ascii, "{shown}");
        let widest = shown.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(60) && widest >= Some(58), "{shown}");
        assert!(shown.contains("loss") && shown.contains("val_accuracy"), "{shown}");
    }
    assert!(!dir.path().join("plot.svg").exists());
}

#[test]
fn the_report_is_one_page_that_needs_nothing_else_and_escapes_what_it_shows() {
    let dir = interrupted();
    let hostile = dir.path().with_file_name("<script>alert('&\"x')");
    fs::rename(dir.path(), &hostile).unwrap();
    look("report", &[&hostile], &[]).check_code(0);
    let text = fs::read_to_string(hostile.join("report.html")).unwrap();
    let page = parsed(&text);
    let names: BTreeSet<&str> = page.descendants().map(|node| node.tag_name().name()).collect();
    assert!(!names.contains("script") && !names.contains("link") && !names.contains("img"), "{names:?}");
    assert!(!text.contains("href=") && !text.contains("src=") && !text.contains("url("));
    let heading = page.descendants().find(|node| node.has_tag_name("h1"));
    let heading = heading.or_else(|| page.descendants().find(|node| node.tag_name().name() == "h1")).unwrap();
    assert_eq!(heading.text(), Some("<script>alert('&\"x')"));
    let headings: Vec<&str> = page
        .descendants()
        .filter(|node| node.tag_name().name() == "h2")
        .filter_map(|node| node.text())
        .collect();
    assert_eq!(
        headings,
        [
            "Summary",
            "Curves",
            "Confusion matrix",
            "Epochs",
            "Timeline of attempts",
            "Settings that differ from the defaults",
            "Checkpoints",
            "Environment",
        ]
    );
    let cells: Vec<&str> = page
        .descendants()
        .filter(|node| node.tag_name().name() == "td")
        .filter_map(|node| node.text())
        .collect();
    for expected in ["train.epochs", "30", "was stopped by SIGTERM", "finished: all epochs done (step 69)"] {
        assert!(cells.iter().any(|cell| cell.contains(expected)), "{expected}: {cells:?}");
    }
    assert_eq!(of_class(&page, "timeline").len(), 1);
}

#[test]
fn a_run_is_drawn_and_reported_while_it_goes_on() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--epochs", "400", "schedule.kind=constant"]);
    let mut child = dir.start_until_step(60, &[]);
    let plot = look("plot", &[&dir.path()], &[]).check_code(0);
    let report = look("report", &[&dir.path()], &[]).check_code(0);
    assert!(child.try_wait().unwrap().is_none(), "the run ended");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(plot.stderr.is_empty() && report.stderr.is_empty(), "{plot:?}{report:?}");
    assert!(dir.read("report.html").contains("A process works on it."));
    parsed(&dir.read("plot.svg"));
}

#[test]
fn wrong_uses_are_named_with_their_exit_codes() {
    let dir = WorkDir::new(&["model.builtin=mlp", "--max-steps", "1"]);
    fs::create_dir_all(dir.path()).unwrap();
    for command in ["plot", "report"] {
        look(command, &[&dir.path()], &[]).check_code(2).check_says(&["is not the folder of a run"]);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "looking left something behind");
    dir.finish(&[]);
    look("plot", &[&dir.path()], &["--out", "picture.jpg"]).check_code(2).check_says(&[".svg or .png"]);
    look("plot", &[&dir.path()], &["--what", "colour"]).check_code(2);
    look("plot", &[&dir.path()], &["--width", "10"]).check_code(2);
    look("plot", &[], &[]).check_code(2);
    for (command, name) in [("plot", "picture.svg"), ("report", "page.html")] {
        let nowhere = dir.path().join("trainer.toml").join(name);
        look(command, &[&dir.path()], &["--out", nowhere.to_str().unwrap()]).check_code(74);
    }
    // One step and no epoch is a picture all the same.
    look("plot", &[&dir.path()], &[]).check_code(0);
}
