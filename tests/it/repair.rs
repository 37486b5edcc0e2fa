//! `trainer repair`, in real processes: after each kind of damage `trainer run` refuses and names the command, the command
//! deletes nothing, and then `trainer run` goes on to the same model as an undisturbed run.

use crate::work_dir::{Ended, Result as Outcome, WorkDir, trainer};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use trainer_runtime::checkpoint::Link;

const ARGS: [&str; 5] = [
    "model.builtin=mlp",
    "train.epochs=3",
    "checkpoint.every_steps=10",
    "checkpoint.durability=step",
    "checkpoint.keep_last=4",
];

/// A run that was killed three times, so that its journal has three segments; made once.
fn killed() -> WorkDir {
    static KILLED: OnceLock<WorkDir> = OnceLock::new();
    let killed = KILLED.get_or_init(|| {
        let dir = WorkDir::new(&ARGS);
        [15, 35, 55].iter().for_each(|step| dir.kill_at_step(*step, &[]));
        assert!(segment(&dir, 3).exists());
        dir
    });
    let dir = WorkDir::new(&ARGS);
    // With its hard links.
    let copied = Command::new("cp").arg("-a").arg(killed.path()).arg(dir.path()).status().unwrap();
    assert!(copied.success());
    dir
}

fn undisturbed() -> &'static Outcome {
    static UNDISTURBED: OnceLock<Outcome> = OnceLock::new();
    UNDISTURBED.get_or_init(|| {
        let dir = WorkDir::new(&ARGS);
        dir.finish(&[]);
        dir.result()
    })
}

fn segment(dir: &WorkDir, number: u64) -> PathBuf {
    dir.path().join(format!("journal/{number:08}.wal"))
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 0x10;
    // In place: what else names the file sees it, too.
    fs::write(path, bytes).unwrap();
}

fn flip_middle(path: &Path) {
    flip(path, fs::metadata(path).unwrap().len() as usize / 2);
}

#[track_caller]
fn repair(dir: &WorkDir, more: &[&str]) -> Ended {
    Ended::of(trainer(["repair"]).arg(dir.path()).args(more))
}

/// Every file of journal and checkpoints.
fn files(dir: &WorkDir) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in ["journal", "checkpoints"] {
        for entry in fs::read_dir(dir.path().join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// That what is damaged is refused by `trainer run` and repaired, that all of these words are said by the repair, and that
/// the run then ends with the model of an undisturbed one.
#[track_caller]
fn check_repaired(damage: impl Fn(&WorkDir), words: &[&str]) -> WorkDir {
    let dir = killed();
    damage(&dir);
    fs::remove_file(dir.path().join("lock")).unwrap();
    let before = files(&dir);

    let tried = repair(&dir, &["--dry-run"]).check_code(5);
    assert_eq!(files(&dir), before, "a dry run changed something");
    assert!(tried.stdout.contains("would be set aside"), "{}", tried.stdout);

    let repaired = repair(&dir, &[]).check_code(0);
    for word in words {
        assert!(repaired.stdout.contains(word), "{word:?} is not in:\n{}", repaired.stdout);
    }
    let after = files(&dir);
    for (path, bytes) in &before {
        assert!(after.values().any(|kept| kept == bytes), "{} is gone", path.display());
    }
    assert_eq!(repair(&dir, &["--dry-run"]).check_code(0).stdout.matches("would be set aside").count(), 0);

    dir.finish(&[]);
    dir.result().check_equals_in_tensors(undisturbed());
    dir
}

/// That `trainer run` refuses and says what is wrong, where, and what helps.
#[track_caller]
fn check_refused(damage: impl Fn(&WorkDir), words: &[&str]) {
    let dir = killed();
    damage(&dir);
    let command = format!("`trainer repair {}`", dir.path().display());
    dir.run(&[]).check_code(5).check_says(words).check_says(&[&command]);
}

#[test]
fn a_damaged_record_is_set_aside_with_all_behind_it() {
    let damage = |dir: &WorkDir| flip_middle(&segment(dir, 2));
    check_refused(damage, &["00000002.wal is damaged at byte ", "intact records follow it"]);
    let words = [
        "is damaged at byte ",
        "00000002.wal.damaged-at-",
        "00000003.wal.set-aside",
        "lost to the run: records ",
    ];
    check_repaired(damage, &words);
}

#[test]
fn a_missing_segment_costs_those_behind_it() {
    let damage = |dir: &WorkDir| fs::rename(segment(dir, 2), dir.path().join("elsewhere")).unwrap();
    check_refused(damage, &["00000002.wal is missing"]);
    check_repaired(damage, &["00000003.wal.set-aside", "of the steps ", "there is no history any more"]);
}

#[test]
fn a_damaged_header_costs_its_segment_and_those_behind_it() {
    let damage = |dir: &WorkDir| flip(&segment(dir, 1), 33);
    check_refused(damage, &["00000001.wal is not the journal segment that belongs there"]);
    let words =
        ["kept: no record", "00000001.wal.set-aside", "goes on from ", "without the history before it"];
    check_repaired(damage, &words);
}

#[test]
fn a_damaged_checkpoint_and_the_links_to_it_are_set_aside() {
    // A process that is killed between a checkpoint and its link leaves the link at the one before.
    let damage = |dir: &WorkDir| flip_middle(&dir.store().link_path(Link::Last));
    let dir = check_repaired(
        damage,
        &["journal: good", "failed its checksum", ".safetensors.damaged", "goes on from "],
    );
    assert!(dir.path().join("checkpoints/last.safetensors.damaged").exists());
    assert!(dir.store().load_link(Link::Last).is_ok());
}

#[test]
fn with_every_checkpoint_damaged_the_run_begins_again_and_is_compared_with_its_journal() {
    let damage = |dir: &WorkDir| {
        dir.checkpoints().into_iter().for_each(|name| flip_middle(&dir.store().path(name)));
    };
    let dir = check_repaired(damage, &["begins at step 0, for there is no good checkpoint", "compares them"]);
    assert_eq!(dir.result().losses, undisturbed().losses);
}

#[test]
fn journal_and_checkpoint_can_be_damaged_at_once() {
    let damage = |dir: &WorkDir| {
        flip(&segment(dir, 3), 0);
        flip_middle(&dir.store().path(*dir.checkpoints().last().unwrap()));
    };
    check_repaired(damage, &["00000003.wal.set-aside", ".safetensors.damaged"]);
}

#[test]
fn a_work_directory_without_damage_is_left_as_it_is() {
    let dir = killed();
    let before = files(&dir);
    let ended = repair(&dir, &[]).check_code(0);
    assert!(
        ended.stdout.starts_with("journal: good") && ended.stdout.contains("next: `trainer run"),
        "{}",
        ended.stdout
    );
    assert_eq!(files(&dir), before);
    dir.finish(&[]);
    dir.result().check_equals(undisturbed());
}

#[test]
fn a_folder_that_is_no_work_directory_is_refused_and_nothing_is_made_in_it() {
    let dir = WorkDir::new(&[]);
    repair(&dir, &[]).check_code(2).check_says(&["is not the folder of a run"]);
    assert!(!dir.path().exists());
    let foreign = dir.make_folder("exp").join("journal");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("system.journal"), b"of somebody else").unwrap();
    repair(&dir, &[]).check_code(2).check_says(&["nothing to repair"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_work_directory_in_use_is_not_repaired() {
    let dir = WorkDir::new(&["train.epochs=200"]);
    let mut first = dir.start_until_step(1, &[]);
    repair(&dir, &[]).check_code(3).check_says(&["is held by", &first.id().to_string()]);
    first.kill().unwrap();
    assert_eq!(Ended::of_child(first).killed_by, Some(9));
}

#[test]
fn files_of_another_format_version_are_refused_by_name_and_left_alone() {
    let dir = killed();
    let path = segment(&dir, 3);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let before = files(&dir);
    let words =
        ["00000003.wal has journal format version 2", "reads version 1", "use the version of the program"];
    dir.run(&[]).check_code(5).check_says(&words);
    repair(&dir, &[]).check_code(5).check_says(&words);
    assert_eq!(files(&dir), before);
}

#[test]
fn a_program_can_read_what_was_done() {
    let dir = killed();
    flip_middle(&segment(&dir, 2));
    let ended = repair(&dir, &["--json"]).check_code(0);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let journal = &report["journal"];
    let [first, last] = [0, 1].map(|end| journal["lost_records"][end].as_u64().unwrap());
    assert_eq!(journal["kept_records"].as_u64().unwrap() + 1, first);
    // All but the damaged one are intact, and some are there twice: in a segment, and written again in the next.
    assert!(journal["intact_records_set_aside"].as_u64().unwrap() >= last - first);
    assert!(Path::new(journal["set_aside"][0]["to"].as_str().unwrap()).exists());
    assert_eq!(report["dry_run"], false);
    assert!(report["next_run"].as_str().unwrap().contains("trainer run"));
}
