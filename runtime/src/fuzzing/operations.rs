//! A journal and a store of checkpoints under a random sequence of operations, crashes and flipped bits, held against
//! a model that is a list and a map.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::memory_disk::MemoryDisk;
use crate::RunId;
use crate::checkpoint::{EmergencyCause, Kind, Link, Name, Request, Retention, Snapshot, Store, TensorView};
use crate::disk::Disk;
use crate::journal::{Durability, Journal, OpenOptions, Opened, Record, Tail, read};

const JOURNAL_DIR: &str = "/exp/journal";
const STORE_DIR: &str = "/exp/checkpoints";
const RUN: RunId = RunId([7; 16]);

/// Small, so that a few records fill a segment.
const SEGMENT_LIMIT_BYTES: u64 = 400;

/// The most operations of one sequence: what a longer one would find, two of these find.
const MOST_OPERATIONS: usize = 60;

struct Tensor(Vec<u8>);

impl Snapshot for Tensor {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        vec![TensorView::new("t", vec![self.0.len()], &self.0)]
    }
}

/// What must be there.
#[derive(Clone, Default)]
struct Model {
    records: Vec<(u16, Vec<u8>)>,
    /// How many of them a power loss can not take.
    durable: usize,
    /// What each record says was durable when it was written.
    watermarks: Vec<usize>,
    /// Checkpoints with their tensor.
    checkpoints: BTreeMap<Name, Vec<u8>>,
    /// What the links hold.
    links: BTreeMap<&'static str, Vec<u8>>,
}

struct Run {
    disk: MemoryDisk,
    durability: Durability,
    journal: Journal,
    store: Store,
    model: Model,
}

/// The bytes of the input as numbers; zeros when there are no more.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most);
        vec![self.byte(); len]
    }
}

/// Runs the operations that the bytes say. At the end, and where power was lost or the process ended, everything that
/// can be read is what the model says.
pub fn operations(bytes: &[u8]) {
    let mut choices = Choices(bytes.iter());
    let durability = if choices.byte() & 1 == 0 { Durability::Checkpoint } else { Durability::Step };
    let disk = MemoryDisk::default();
    let Opened { journal, .. } = open_journal(&disk, durability).expect("an empty directory is a journal");
    let store = open_store(&disk);
    let mut run = Run { disk, durability, journal, store, model: Model::default() };
    for _ in 0..MOST_OPERATIONS {
        if choices.0.len() == 0 {
            break;
        }
        run.operate(&mut choices);
        run.check_counts();
    }
    run.check_contents();
}

fn open_journal(disk: &MemoryDisk, durability: Durability) -> Result<Opened, crate::journal::OpenError> {
    let segment_limit_bytes = SEGMENT_LIMIT_BYTES;
    let options = OpenOptions { run_id: Some(RUN), durability, segment_limit_bytes };
    Journal::open(Arc::new(disk.clone()), Path::new(JOURNAL_DIR), options)
}

fn open_store(disk: &MemoryDisk) -> Store {
    Store::open(Arc::new(disk.clone()), Path::new(STORE_DIR)).expect("a disk in memory does not fail")
}

fn plain(records: &[Record]) -> Vec<(u16, Vec<u8>)> {
    records.iter().map(|record| (record.kind, record.payload.to_vec())).collect()
}

impl Run {
    /// One operation; one in four crashes somewhere within, or right behind.
    fn operate(&mut self, choices: &mut Choices<'_>) {
        let operation = choices.byte();
        let crash = (operation & 0x30 == 0x30).then(|| (choices.below(24), choices.byte()));
        let before = self.model.clone();
        if let Some((in_operations, _)) = crash {
            self.disk.crash_in(in_operations);
        }
        match operation & 0x0f {
            0..=2 => self.append(choices),
            3 => {
                let answer = self.journal.append(0, b"");
                assert!(answer.is_err(), "kind 0 was taken");
            }
            4 => {
                self.journal.sync().expect("a disk in memory does not fail");
                self.model.durable = self.model.records.len();
            }
            5..=7 => self.publish(choices),
            8 => self.retire(choices),
            9 => self.link(choices),
            10 => self.store = open_store(&self.disk),
            11 => self.damage_checkpoint(choices),
            12 => self.damage_journal(choices),
            _ => self.reopen(),
        }
        if let Some((_, kept)) = crash {
            let lost = self.disk.crashed(kept).unwrap_or_else(|| self.disk.after_power_loss(kept));
            self.recover(lost, &before);
        }
    }

    fn append(&mut self, choices: &mut Choices<'_>) {
        let records: Vec<(u16, Vec<u8>)> =
            (0..choices.below(4)).map(|_| (u16::from(choices.byte()).max(1), choices.bytes(120))).collect();
        let borrowed: Vec<(u16, &[u8])> = records.iter().map(|(kind, payload)| (*kind, &**payload)).collect();
        let before = self.journal.durable_sequence() as usize;
        let last = self.journal.append_batch(&borrowed).expect("a disk in memory does not fail");
        self.model.records.extend(records);
        assert_eq!(last as usize, self.model.records.len());
        // A full segment is synced before the next one begins.
        self.model.durable = self.journal.durable_sequence() as usize;
        assert!(self.model.durable >= before);
        // The model does not know when a segment is full, and with it what the records say: at least this.
        self.model.watermarks.resize(self.model.records.len(), before);
    }

    /// The process ends, and another takes the work up.
    fn reopen(&mut self) {
        let opened = open_journal(&self.disk, self.durability).expect("a whole journal opens");
        assert_eq!(plain(&opened.records), self.model.records);
        assert_eq!(opened.set_aside, None);
        self.journal = opened.journal;
        self.model.durable = self.model.records.len();
    }

    fn publish(&mut self, choices: &mut Choices<'_>) {
        let kind = match choices.below(3) {
            0 => Kind::Step,
            1 => Kind::Epoch,
            _ => Kind::Emergency(EmergencyCause::OutOfMemory),
        };
        let (step, tensor) = (choices.below(16) as u64, choices.bytes(200));
        let snapshot = Arc::new(Tensor(tensor.clone()));
        let request = Request { kind, run_id: RUN, epoch: step / 4, step, state: vec![1, 2], snapshot };
        let receipt = self.store.publish(request).expect("a disk in memory does not fail");
        self.model.checkpoints.insert(receipt.name, tensor);
    }

    fn retire(&mut self, choices: &mut Choices<'_>) {
        let (keep_last, best) = (choices.below(5), self.choose(choices));
        self.store
            .retire(&Retention { keep_last, ..Retention::default() }, best.as_slice())
            .expect("a disk in memory does not fail");
        let steps: BTreeSet<u64> = self.model.checkpoints.keys().map(|name| name.step).collect();
        let kept: BTreeSet<u64> = steps.into_iter().rev().take(keep_last.max(2)).collect();
        self.model.checkpoints.retain(|name, _| kept.contains(&name.step) || Some(*name) == best);
    }

    fn choose(&self, choices: &mut Choices<'_>) -> Option<Name> {
        self.model.checkpoints.keys().nth(choices.below(self.model.checkpoints.len())).copied()
    }

    fn link(&mut self, choices: &mut Choices<'_>) {
        let Some(name) = self.choose(choices) else { return };
        let (link, key) = match choices.below(2) {
            0 => (Link::Best, "best"),
            _ => (Link::Last, "last"),
        };
        self.store.link(link, name).expect("a disk in memory does not fail");
        let tensor = self.model.checkpoints.get(&name).expect("it was chosen from these").clone();
        self.model.links.insert(key, tensor);
    }

    /// Flips a bit of a checkpoint: it is refused, and the search passes over it.
    fn damage_checkpoint(&mut self, choices: &mut Choices<'_>) {
        let Some(name) = self.choose(choices) else { return };
        let bit = usize::from(choices.byte()) << 5 | choices.below(32);
        self.disk.flip_bit(&self.store.path(name), bit);
        assert!(self.store.load(name).is_err(), "a flipped bit was loaded");
        let search = self.store.newest_valid().expect("a disk in memory does not fail");
        let is_newest = self.model.checkpoints.keys().next_back() == Some(&name);
        assert_eq!(search.rejected.iter().any(|rejected| rejected.name == name), is_newest);
        assert_ne!(
            search.newest.map(|found| Name::new(found.meta().kind, found.meta().epoch, found.meta().step)),
            Some(name)
        );
        // What a link holds is the same file: whole again, it is as good as before.
        self.disk.flip_bit(&self.store.path(name), bit);
        assert!(self.store.load(name).is_ok());
        self.store.set_aside(name).expect("a disk in memory does not fail");
        self.model.checkpoints.remove(&name);
    }

    /// Flips a bit of a segment: it is refused, unless nothing says that what it held was ever durable.
    fn damage_journal(&mut self, choices: &mut Choices<'_>) {
        let entries = self.disk.list(Path::new(JOURNAL_DIR)).expect("a disk in memory does not fail");
        let segments: Vec<_> = entries.iter().filter(|entry| entry.name.ends_with(".wal")).collect();
        let Some(entry) = segments.get(choices.below(segments.len())) else { return };
        let path = PathBuf::from(JOURNAL_DIR).join(&entry.name);
        let bit = usize::from(choices.byte()) << 5 | choices.below(32);
        self.disk.flip_bit(&path, bit);
        let Ok(contents) = read(&self.disk, Path::new(JOURNAL_DIR)) else {
            assert!(open_journal(&self.disk, self.durability).is_err());
            self.disk.flip_bit(&path, bit);
            return;
        };
        if contents.tail == Tail::Clean {
            // It lies where the next segment has taken the place of what was not durable.
            assert_eq!(plain(&contents.records), self.model.records, "a flipped bit went unnoticed");
            self.disk.flip_bit(&path, bit);
            return;
        }
        let kept = contents.records.len();
        let told = self.model.watermarks.iter().enumerate().filter(|(index, _)| *index != kept);
        assert!(told.map(|(_, watermark)| *watermark).max() <= Some(kept), "a durable record was given up");
        assert_eq!(Some(&*plain(&contents.records)), self.model.records.get(..kept));
        let opened = open_journal(&self.disk, self.durability).expect("a torn tail is no obstacle");
        assert!(opened.set_aside.is_some() && opened.records.len() == kept);
        self.journal = opened.journal;
        self.model.records.truncate(kept);
        self.model.watermarks.truncate(kept);
        self.model.durable = kept;
    }

    /// Power was lost while an operation led from one model to the other.
    fn recover(&mut self, lost: MemoryDisk, before: &Model) {
        let opened = open_journal(&lost, self.durability).expect("a power loss is no obstacle");
        let kept = opened.records.len();
        let promised = before.durable.min(self.model.durable);
        let longer = if before.records.len() > self.model.records.len() { before } else { &self.model };
        assert!(kept >= promised, "{kept} records are left of {promised} durable ones");
        assert_eq!(Some(&*plain(&opened.records)), longer.records.get(..kept));
        self.model.watermarks = longer.watermarks.iter().copied().take(kept).collect();
        self.model.records = plain(&opened.records);
        self.model.durable = kept;

        let store = open_store(&lost);
        let mut found = BTreeMap::new();
        for entry in store.list().expect("a disk in memory does not fail") {
            let tensor = tensor_of(&store.load(entry.name).expect("what has its name is whole"));
            let models = [before, &self.model].map(|model| model.checkpoints.get(&entry.name));
            assert!(models.contains(&Some(&tensor)), "{} holds what was never published", entry.name);
            found.insert(entry.name, tensor);
        }
        let both = before.checkpoints.keys().filter(|name| self.model.checkpoints.contains_key(name));
        assert!(both.into_iter().all(|name| found.contains_key(name)), "a published checkpoint is gone");
        let mut links = BTreeMap::new();
        for (link, key) in [(Link::Best, "best"), (Link::Last, "last")] {
            let models = [before, &self.model].map(|model| model.links.get(key));
            let held = store.load_link(link).ok().map(|checkpoint| tensor_of(&checkpoint));
            assert!(models.contains(&held.as_ref()), "link {key} is neither what it was nor what it became");
            links.extend(held.map(|held| (key, held)));
        }
        (self.model.checkpoints, self.model.links) = (found, links);
        (self.disk, self.journal, self.store) = (lost, opened.journal, store);
    }

    fn check_counts(&self) {
        assert_eq!(self.journal.next_sequence() as usize, self.model.records.len() + 1);
        assert!(self.journal.durable_sequence() as usize >= self.model.durable);
        let listed = self.store.list().expect("a disk in memory does not fail");
        assert!(listed.iter().map(|entry| &entry.name).eq(self.model.checkpoints.keys()));
    }

    fn check_contents(&self) {
        let contents = read(&self.disk, Path::new(JOURNAL_DIR)).expect("a journal in use can be read");
        assert_eq!((plain(&contents.records), contents.tail), (self.model.records.clone(), Tail::Clean));
        let search = self.store.newest_valid().expect("a disk in memory does not fail");
        assert!(search.rejected.is_empty());
        let newest = self.model.checkpoints.last_key_value().map(|(_, tensor)| tensor.clone());
        assert_eq!(search.newest.as_ref().map(tensor_of), newest);
    }
}

fn tensor_of(checkpoint: &crate::checkpoint::Checkpoint) -> Vec<u8> {
    checkpoint.tensor("t").and_then(|tensor| tensor.to_vec().ok()).expect("every checkpoint has it")
}
