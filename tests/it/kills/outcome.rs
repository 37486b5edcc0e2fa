//! What a disturbed run must have in common with an undisturbed one, and what must hold while it is down.

use crate::work_dir::{Result, WorkDir};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use trainer::train::event::Event;
use trainer_runtime::checkpoint::{Checkpoint, Link};
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{self, Tail};

/// Where the metadata of a checkpoint begin with a checksum that also covers the run id.
const HEADER_CRC32: std::ops::Range<usize> = 41..49;

/// All that two runs with the same settings have in common.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// Final tensors, `history.csv` and losses.
    result: Result,
    /// The bytes of the final checkpoint, but for the run id, which is drawn at random, and the checksum that covers it.
    final_checkpoint: Vec<u8>,
    /// The bytes of `model.onnx`.
    model: Vec<u8>,
    /// The records of steps, epochs and the end, each once, without clock and attempts.
    records: Vec<Event>,
}

impl Outcome {
    /// What the finished run came to.
    #[track_caller]
    pub fn of(dir: &WorkDir) -> Self {
        let final_checkpoint = final_bytes(dir);
        let model = fs::read(dir.path().join("model.onnx")).unwrap();
        let records = dir.events().into_iter().filter_map(timeless).collect();
        Self { result: dir.result(), final_checkpoint, model, records }
    }

    /// That a finished run came to this, and left nothing behind.
    #[track_caller]
    pub fn check(&self, dir: &WorkDir) {
        let other = Self::of(dir);
        self.result.check_equals(&other.result);
        check_bytes("the final checkpoint", &self.final_checkpoint, &other.final_checkpoint);
        check_bytes("model.onnx", &self.model, &other.model);
        check_records(&self.records, &other.records);
        check_no_litter(&dir.path());
    }
}

/// The bytes of the final checkpoint, but for the run id, which is drawn at random, and the checksum that covers it.
#[track_caller]
pub fn final_bytes(dir: &WorkDir) -> Vec<u8> {
    let run_id = dir.final_checkpoint().meta().run_id.to_string();
    let mut bytes = fs::read(dir.store().link_path(Link::Final)).unwrap();
    bytes[HEADER_CRC32].fill(b'-');
    let found = bytes.windows(run_id.len()).position(|window| window == run_id.as_bytes()).unwrap();
    bytes[found..found + run_id.len()].fill(b'-');
    bytes
}

/// That these are equal; if not, shows the first that are not.
#[track_caller]
fn check_records(expected: &[Event], found: &[Event]) {
    let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    assert_eq!(expected.get(same), found.get(same), "record {} of steps, epochs and the end", same + 1);
}

/// That these are equal; if not, shows the surroundings of the first difference.
#[track_caller]
fn check_bytes(what: &str, expected: &[u8], found: &[u8]) {
    let differing = expected.iter().zip(found).position(|(expected, found)| expected != found);
    let Some(at) = differing else {
        return assert_eq!(expected.len(), found.len(), "bytes in {what}");
    };
    let around = |bytes: &[u8]| {
        let range = at.saturating_sub(100)..(at + 100).min(bytes.len());
        bytes[range].escape_ascii().to_string()
    };
    panic!("{what} differs at byte {at}:\n{}\n{}", around(expected), around(found));
}

/// The record without what depends on the clock and on the number of processes; `None` if all of it does.
fn timeless(event: Event) -> Option<Event> {
    match event {
        Event::EpochDone(mut epoch) => {
            epoch.seconds = 0.0;
            epoch.attempt = 0;
            Some(Event::EpochDone(epoch))
        }
        Event::StepDone(_) | Event::StepRefused(_) | Event::EarlyStopped(_) | Event::Finished(_) => {
            Some(event)
        }
        _ => None,
    }
}

/// That no temporary file is left.
#[track_caller]
fn check_no_litter(path: &Path) {
    for path in all_files(path) {
        assert!(path.extension().is_none_or(|ending| ending != "tmp"), "{} is left behind", path.display());
    }
}

/// Every file below a folder.
fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let into = if entry.file_type().unwrap().is_dir() { &mut open } else { &mut found };
            into.push(entry.path());
        }
    }
    found
}

/// What must hold of the files of a run whose process was killed.
///
/// A file that has its final name is whole; a checkpoint that was announced, or one that came after it, is there; and of
/// the journal at most the end of the last record is missing. Gives the last step that is recorded, 0 if there is none.
#[track_caller]
pub fn check_image(work_dir: &Path) -> u64 {
    if !work_dir.exists() {
        return 0;
    }
    let disk = RealDisk::shared();
    let mut newest = 0;
    for path in all_files(work_dir) {
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            let checkpoint = Checkpoint::load(&*disk, &path).unwrap_or_else(|error| panic!("{error}"));
            newest = newest.max(checkpoint.meta().step);
        }
    }
    let journal = journal::read(&*disk, &work_dir.join("journal")).unwrap_or_else(|error| panic!("{error}"));
    if let Tail::Torn { intact_records, .. } = journal.tail {
        assert_eq!(intact_records, 0, "a process that died left a hole in its journal");
    }
    let mut last_step = 0;
    for record in &journal.records {
        match Event::decode(record.sequence, record.kind, &record.payload).unwrap() {
            Event::StepDone(step) => last_step = step.step,
            Event::CheckpointDurable(durable) => {
                assert!(newest >= durable.step, "{} was announced and is not there", durable.name);
            }
            _ => {}
        }
    }
    last_step
}

/// Copies a folder; what were two names of one file are that again.
pub fn copy_folder(from: &Path, to: &Path) {
    fn copy(from: &Path, to: &Path, names: &mut HashMap<u64, PathBuf>) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let inode = entry.metadata().unwrap().ino();
            if entry.file_type().unwrap().is_dir() {
                copy(&from, &to, names);
            } else if let Some(first) = names.get(&inode) {
                fs::hard_link(first, &to).unwrap();
            } else {
                fs::copy(&from, &to).unwrap();
                names.insert(inode, to);
            }
        }
    }
    if from.exists() {
        copy(from, to, &mut HashMap::new());
    }
}
