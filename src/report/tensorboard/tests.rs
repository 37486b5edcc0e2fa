use super::record::unframed;
use super::{Event, EventFile, FILE, FOLDER};
use crate::train::history::History;
use crate::train::history::fixtures::{attempt, begun, epoch, sample, step};
use prost::Message as _;
use std::fs;
use std::path::{Path, PathBuf};
use trainer_runtime::disk::RealDisk;

fn events(work_dir: &Path) -> Vec<Event> {
    let bytes = fs::read(path(work_dir)).unwrap();
    unframed(&bytes).unwrap().into_iter().map(|record| Event::decode(record).unwrap()).collect()
}

fn path(work_dir: &Path) -> PathBuf {
    work_dir.join(FOLDER).join(FILE)
}

/// Steps and values of a tag, in the order of the file.
fn scalars(work_dir: &Path, tag: &str) -> Vec<(i64, f32)> {
    let of_event = |event: Event| {
        let values = event.summary.unwrap_or_default().value;
        let found = values.into_iter().find(|value| value.tag == tag);
        found.and_then(|value| Some((event.step, value.simple_value?)))
    };
    events(work_dir).into_iter().filter_map(of_event).collect()
}

/// The first attempt: ten steps in 10 s and an epoch.
fn first_attempt() -> History {
    let mut history = begun();
    history.add(sample(1_000, 0));
    history
}

fn ten_steps(history: &mut History) {
    (1..=10).for_each(|number| history.add(step(number)));
    history.add(epoch(1, 0.5));
    history.add(sample(11_000, 10));
}

#[test]
fn what_is_appended_as_the_run_goes_on_is_what_a_whole_file_holds() {
    let (live, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut history = first_attempt();
    let mut file = EventFile::open(&RealDisk, live.path(), &history).unwrap();
    ten_steps(&mut history);
    file.update(&history).unwrap();
    // Killed behind two steps more that no reading of the clock has seen.
    (11..=12).for_each(|number| history.add(step(number)));
    history.add(attempt(2, 5, false));
    history.add(sample(101_000, 5));
    let before = fs::read(path(live.path())).unwrap();
    let mut file = EventFile::open(&RealDisk, live.path(), &history).unwrap();
    let after = fs::read(path(live.path())).unwrap();
    assert!(after.starts_with(&before) && after.len() > before.len(), "the file was not continued");
    (13..=20).for_each(|number| history.add(step(number)));
    history.add(epoch(2, 0.25));
    history.add(sample(116_000, 20));
    file.update(&history).unwrap();
    EventFile::open(&RealDisk, whole.path(), &history).unwrap();
    assert!(fs::read(path(live.path())).unwrap() == fs::read(path(whole.path())).unwrap());

    let losses = scalars(live.path(), "train/loss");
    assert_eq!(losses, (1..=20).map(|step| (step, 1.0 / step as f32)).collect::<Vec<_>>());
    assert_eq!(scalars(live.path(), "train/epoch_loss"), [(10, 0.5), (20, 0.25)]);
    assert_eq!(scalars(live.path(), "val/loss"), [(10, 0.25), (20, 0.125)]);
    // Ten steps of 4 examples in 10 s, and fifteen in 15 s.
    assert_eq!(scalars(live.path(), "train/examples_per_s"), [(10, 4.0), (20, 4.0)]);
    let all = events(live.path());
    assert_eq!(all[0].file_version.as_deref(), Some("brain.Event:2"));
    assert!(all.is_sorted_by_key(|event| event.step) && all.is_sorted_by(|a, b| a.wall_time <= b.wall_time));
    assert!(all.iter().any(|event| event.step == 5 && event.wall_time == 6.0));
}

#[test]
fn a_record_that_a_kill_has_cut_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = first_attempt();
    ten_steps(&mut history);
    EventFile::open(&RealDisk, dir.path(), &history).unwrap();
    let whole = fs::read(path(dir.path())).unwrap();
    for end in [0, 1, 30, whole.len() - 1, whole.len()] {
        fs::write(path(dir.path()), &whole[..end]).unwrap();
        EventFile::open(&RealDisk, dir.path(), &history).unwrap();
        assert!(fs::read(path(dir.path())).unwrap() == whole, "{end}");
    }
}

#[test]
fn discarded_steps_are_gone_and_other_bytes_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = first_attempt();
    ten_steps(&mut history);
    EventFile::open(&RealDisk, dir.path(), &history).unwrap();
    history.add(attempt(2, 4, true));
    history.add(sample(50_000, 4));
    let mut file = EventFile::open(&RealDisk, dir.path(), &history).unwrap();
    assert_eq!(scalars(dir.path(), "lr").len(), 4);
    history.add(step(5));
    history.add(sample(51_000, 5));
    file.update(&history).unwrap();
    assert_eq!(scalars(dir.path(), "lr").iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    // The rate up to step 10 is void with it.
    assert_eq!(scalars(dir.path(), "train/examples_per_s"), [(5, 4.0)]);

    fs::write(path(dir.path()), b"of somebody else").unwrap();
    EventFile::open(&RealDisk, dir.path(), &history).unwrap();
    assert_eq!(scalars(dir.path(), "lr").len(), 5);
}

#[test]
fn a_file_that_can_not_be_made_is_an_error_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FOLDER), b"no folder").unwrap();
    assert!(EventFile::open(&RealDisk, dir.path(), &first_attempt()).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
