//! A journal and a store of checkpoints under a random sequence of operations, faults, power losses and flipped bits,
//! held against a model that is a list and a map.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::RunId;
use crate::checkpoint::{
    Checkpoint, EmergencyCause, Kind, Link, Name, Request, Retention, Snapshot, Store, TensorView,
};
use crate::disk::Disk;
use crate::disk::simulated::{Fault, Lasting, PowerLoss, SimulatedDisk, SyncMode};
use crate::journal::{Durability, Journal, OpenError, OpenOptions, Opened, Record, Tail, read, repair};

const JOURNAL_DIR: &str = "exp/journal";
const STORE_DIR: &str = "exp/checkpoints";
const RUN: RunId = RunId([7; 16]);

/// Small, so that a few records fill a segment.
const SEGMENT_LIMIT_BYTES: u64 = 400;

/// The most operations of one sequence: what a longer one would find, two of these find.
const MOST_OPERATIONS: usize = 40;

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
    /// What each record says was durable when it was written, or less.
    watermarks: Vec<usize>,
    /// Checkpoints with their tensor.
    checkpoints: BTreeMap<Name, Vec<u8>>,
    /// What the links hold.
    links: BTreeMap<&'static str, Vec<u8>>,
}

struct Run {
    disk: SimulatedDisk,
    durability: Durability,
    journal: Journal,
    store: Store,
    model: Model,
    /// Every record that there ever was in each place: those that a power loss, a fault or damage took may come back,
    /// where what was written in their place is damaged.
    ever: BTreeMap<usize, Vec<(u16, Vec<u8>)>>,
    /// Whether an operation may fail now.
    is_faulty: bool,
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

    fn power_loss(&mut self) -> PowerLoss {
        PowerLoss::nth(u64::from(self.byte()), u64::from(self.byte()))
    }
}

/// Runs the operations that the bytes say. At the end, and where power was lost, a fault struck or the process ended,
/// everything that can be read is what the model says.
pub fn operations(bytes: &[u8]) {
    let mut choices = Choices(bytes.iter());
    let durability = if choices.byte() & 1 == 0 { Durability::Checkpoint } else { Durability::Step };
    let disk = SimulatedDisk::new();
    let Opened { journal, .. } = open_journal(&disk, durability).expect("an empty directory is a journal");
    let store = open_store(&disk);
    let mut run = Run {
        disk,
        durability,
        journal,
        store,
        model: Model::default(),
        ever: BTreeMap::new(),
        is_faulty: false,
    };
    for _ in 0..MOST_OPERATIONS {
        if choices.0.len() == 0 {
            break;
        }
        run.operate(&mut choices);
        run.check_counts();
    }
    run.check_contents();
}

fn open_journal(disk: &SimulatedDisk, durability: Durability) -> Result<Opened, OpenError> {
    let segment_limit_bytes = SEGMENT_LIMIT_BYTES;
    let options = OpenOptions { run_id: Some(RUN), durability, segment_limit_bytes };
    Journal::open(disk.shared(), Path::new(JOURNAL_DIR), options)
}

fn open_store(disk: &SimulatedDisk) -> Store {
    Store::open(disk.shared(), Path::new(STORE_DIR)).expect("a disk without faults does not fail")
}

fn plain(records: &[Record]) -> Vec<(u16, Vec<u8>)> {
    records.iter().map(|record| (record.kind, record.payload.to_vec())).collect()
}

fn tensor_of(checkpoint: &Checkpoint) -> Vec<u8> {
    checkpoint.tensor("t").and_then(|tensor| tensor.to_vec().ok()).expect("every checkpoint has it")
}

/// The disk with one bit of a file changed, counted from its start and around its end.
fn with_flipped_bit(disk: &SimulatedDisk, path: &Path, bit: usize) -> SimulatedDisk {
    let flipped = disk.fork();
    let mut bytes = flipped.read(path, u64::MAX).expect("the file is there");
    let bits = bytes.len() * 8;
    if let Some(byte) = bit.checked_rem(bits).and_then(|bit| bytes.get_mut(bit / 8)) {
        *byte ^= 1 << (bit % bits % 8);
    }
    flipped.put(path, bytes);
    flipped
}

impl Run {
    /// One operation. Of four, one loses power somewhere within or right behind, and one meets a fault, after which
    /// the process ends.
    fn operate(&mut self, choices: &mut Choices<'_>) {
        let operation = choices.byte();
        let (loses_power, meets_fault) = (operation & 0x30 == 0x30, operation & 0x30 == 0x20);
        let is_quiet = !loses_power && !meets_fault;
        let before = self.model.clone();
        let first = self.disk.operations();
        if meets_fault {
            let fault = Fault::ALL.get(choices.below(Fault::ALL.len())).copied().unwrap_or(Fault::Io);
            let lasting = if choices.byte() & 1 == 0 { Lasting::Once } else { Lasting::FromThenOn };
            self.disk.set_sync_mode(SyncMode::FailingDropsPages);
            self.disk.fail_nth(choices.below(24), fault, lasting);
            self.is_faulty = true;
        }
        match operation & 0x0f {
            0..=3 => self.append(choices),
            4 => self.sync(),
            5..=7 => self.publish(choices),
            8 => self.retire(choices),
            9 => self.link(choices),
            10 if !meets_fault => self.store = open_store(&self.disk),
            11 if is_quiet => self.damage_checkpoint(choices),
            12 if is_quiet => self.damage_journal(choices),
            _ if !meets_fault => self.reopen(),
            _ => {}
        }
        if loses_power {
            let within = choices.below(self.disk.operations() - first + 1);
            let lost = self.disk.crash_point(first + within).image(&choices.power_loss());
            self.recover(lost, &before);
        } else if meets_fault {
            let done = self.disk.operations();
            let lost = match choices.byte() & 1 {
                0 => self.disk.fork(),
                _ => self.disk.crash_point(done).image(&choices.power_loss()),
            };
            self.is_faulty = false;
            self.recover(lost, &before);
        }
    }

    /// What an operation gave; nothing, if it failed and was meant to.
    fn unless_faulty<T, E: Display>(&self, done: Result<T, E>) -> Option<T> {
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                assert!(self.is_faulty, "nothing was to fail: {error}");
                None
            }
        }
    }

    fn append(&mut self, choices: &mut Choices<'_>) {
        let count = choices.below(4);
        let records: Vec<_> = (0..count).map(|_| (u16::from(choices.byte()), choices.bytes(120))).collect();
        let borrowed: Vec<(u16, &[u8])> = records.iter().map(|(kind, payload)| (*kind, &**payload)).collect();
        let before = self.journal.durable_sequence() as usize;
        let appended = self.journal.append_batch(&borrowed);
        if records.iter().any(|(kind, _)| *kind == 0) {
            assert!(appended.is_err(), "kind 0 was taken");
            return;
        }
        // Written or not, these are what may be found.
        for (record, index) in records.iter().zip(self.model.records.len()..) {
            self.ever.entry(index).or_default().push(record.clone());
        }
        self.model.records.extend(records);
        // The model does not know when a segment is full, and with it what the records say: at least this.
        self.model.watermarks.resize(self.model.records.len(), before);
        if let Some(last) = self.unless_faulty(appended) {
            assert_eq!(last as usize, self.model.records.len());
            self.model.durable = self.journal.durable_sequence() as usize;
            assert!(self.durability != Durability::Step || self.model.durable == self.model.records.len());
            assert!(self.model.durable >= before);
        }
    }

    fn sync(&mut self) {
        let synced = self.journal.sync();
        if self.unless_faulty(synced).is_some() {
            self.model.durable = self.model.records.len();
        }
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
        let name = request.name();
        let published = self.store.publish(request);
        self.unless_faulty(published);
        self.model.checkpoints.insert(name, tensor);
    }

    fn retire(&mut self, choices: &mut Choices<'_>) {
        let (keep_last, best) = (choices.below(5), self.choose(choices));
        let retention = Retention { keep_last, ..Retention::default() };
        let retired = self.store.retire(&retention, best.as_slice());
        self.unless_faulty(retired);
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
        let linked = self.store.link(link, name);
        self.unless_faulty(linked);
        let tensor = self.model.checkpoints.get(&name).expect("it was chosen from these").clone();
        self.model.links.insert(key, tensor);
    }

    /// Flips a bit of a checkpoint: it is refused, and the search passes over it. Then it is set aside, as it was.
    fn damage_checkpoint(&mut self, choices: &mut Choices<'_>) {
        let Some(name) = self.choose(choices) else { return };
        let bit = usize::from(choices.byte()) << 5 | choices.below(32);
        let damaged = open_store(&with_flipped_bit(&self.disk, &self.store.path(name), bit));
        assert!(damaged.load(name).is_err(), "a flipped bit was loaded");
        let search = damaged.newest_valid().expect("a disk without faults does not fail");
        let is_newest = self.model.checkpoints.keys().next_back() == Some(&name);
        assert_eq!(search.rejected.iter().any(|rejected| rejected.name == name), is_newest);
        let next = self.model.checkpoints.iter().rev().find(|(other, _)| !is_newest || **other != name);
        assert_eq!(search.newest.as_ref().map(tensor_of).as_ref(), next.map(|(_, tensor)| tensor));
        self.store.set_aside(name).expect("a disk without faults does not fail");
        self.model.checkpoints.remove(&name);
    }

    /// Flips a bit of a segment: it is refused and can be repaired, unless nothing says that what it held was ever
    /// durable, or is no longer needed. The work goes on with what is left.
    fn damage_journal(&mut self, choices: &mut Choices<'_>) {
        let entries = self.disk.list(Path::new(JOURNAL_DIR)).expect("a disk without faults does not fail");
        let segments: Vec<_> = entries.iter().filter(|entry| entry.name.ends_with(".wal")).collect();
        let Some(entry) = segments.get(choices.below(segments.len())) else { return };
        let path = PathBuf::from(JOURNAL_DIR).join(&entry.name);
        let bit = usize::from(choices.byte()) << 5 | choices.below(32);
        let damaged = with_flipped_bit(&self.disk, &path, bit);
        let kept = match read(&damaged, Path::new(JOURNAL_DIR)) {
            // A version is never repaired: another program may be able to read it.
            Err(OpenError::Version { .. }) => {
                assert!(open_journal(&damaged, self.durability).is_err());
                return;
            }
            Err(_) => repaired(&damaged, &path, self.durability),
            // It lies where the next segment has taken the place of what was not durable.
            Ok(contents) if contents.tail == Tail::Clean => {
                assert_eq!(plain(&contents.records), self.model.records, "a flipped bit went unnoticed");
                return;
            }
            Ok(contents) => {
                let kept = contents.records.len();
                let told = self.model.watermarks.iter().enumerate().filter(|(index, _)| *index != kept);
                let most = told.map(|(_, watermark)| *watermark).max();
                assert!(most <= Some(kept), "a durable record was given up");
                assert_eq!(Some(&*plain(&contents.records)), self.model.records.get(..kept));
                kept
            }
        };
        let opened =
            open_journal(&damaged, self.durability).expect("what was repaired or torn is no obstacle");
        let records = plain(&opened.records);
        assert_eq!(records.len(), kept);
        let is_known = |(index, record)| self.ever.get(&index).is_some_and(|ever| ever.contains(record));
        assert!(records.iter().enumerate().all(is_known), "a record that never was there is read");
        self.model.records = records;
        self.model.watermarks.resize(kept, 0);
        self.model.durable = kept;
        (self.store, self.journal) = (open_store(&damaged), opened.journal);
        self.disk = damaged;
    }

    /// Another process takes up what a fault or a power loss left, while an operation led from one model to the other.
    fn recover(&mut self, lost: SimulatedDisk, before: &Model) {
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
        for entry in store.list().expect("a disk without faults does not fail") {
            let tensor = tensor_of(&store.load(entry.name).expect("what has its name is whole"));
            let models = [before, &self.model].map(|model| model.checkpoints.get(&entry.name));
            assert!(models.contains(&Some(&tensor)), "{} holds what was never published", entry.name);
            found.insert(entry.name, tensor);
        }
        let mut both = before.checkpoints.keys().filter(|name| self.model.checkpoints.contains_key(name));
        assert!(both.all(|name| found.contains_key(name)), "a published checkpoint is gone");
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
        let listed = self.store.list().expect("a disk without faults does not fail");
        assert!(listed.iter().map(|entry| &entry.name).eq(self.model.checkpoints.keys()));
    }

    fn check_contents(&self) {
        let contents = read(&self.disk, Path::new(JOURNAL_DIR)).expect("a journal in use can be read");
        assert_eq!((plain(&contents.records), contents.tail), (self.model.records.clone(), Tail::Clean));
        let search = self.store.newest_valid().expect("a disk without faults does not fail");
        assert!(search.rejected.is_empty());
        let newest = self.model.checkpoints.last_key_value().map(|(_, tensor)| tensor.clone());
        assert_eq!(search.newest.as_ref().map(tensor_of), newest);
    }
}

/// Repairs a journal that is refused; returns how many records it has then. The bytes of the damaged segment stay.
fn repaired(disk: &SimulatedDisk, segment: &Path, durability: Durability) -> usize {
    assert!(open_journal(disk, durability).is_err(), "a journal that can not be read was opened");
    let damaged = disk.read(segment, u64::MAX).expect("the segment is there");
    let repair = repair::examine(disk, Path::new(JOURNAL_DIR)).expect("it can be examined");
    repair.apply(&disk.shared()).expect("a disk without faults does not fail");
    assert!(disk.files().iter().any(|(_, bytes)| **bytes == *damaged), "the damaged segment is gone");
    repair.records.len()
}
