//! The medium changes what was written: every bit, every length, every sector.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainer_runtime::RunId;
use trainer_runtime::checkpoint::{Checkpoint, Kind, Request, Snapshot, Store, TensorView};
use trainer_runtime::disk::Disk;
use trainer_runtime::disk::simulated::{SECTOR_BYTES, SimulatedDisk};
use trainer_runtime::journal::{self, Durability, Journal, OpenError, OpenOptions, Tail};

use crate::{Scale, scale};

const JOURNAL_BYTES: usize = 64 << 10;
const CHECKPOINT_BYTES: usize = 256 << 10;

/// What the medium does to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// Bit `n` of the file is the other way round.
    Flip(usize),
    /// Only so many bytes are left.
    Cut(usize),
    /// A sector reads as zeros.
    Zero(Sector),
    /// Two sectors are in each other's place.
    Swap(Sector, Sector),
    /// A sector is found in the place of another, too.
    Copy { from: Sector, to: Sector },
    /// A sector is there twice, and what follows comes later.
    Insert(Sector),
}

#[derive(Debug, Clone, Copy)]
struct Sector {
    index: usize,
    bytes: usize,
}

impl Sector {
    fn of(self, file: &[u8]) -> std::ops::Range<usize> {
        let start = self.index * self.bytes;
        start..file.len().min(start + self.bytes)
    }
}

impl Damage {
    /// The damaged file, if it is another one than before.
    fn apply(self, file: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = file.to_vec();
        match self {
            Damage::Flip(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            Damage::Cut(len) => bytes.truncate(len),
            Damage::Zero(sector) => bytes[sector.of(file)].fill(0),
            Damage::Swap(a, b) => {
                let len = a.of(file).len().min(b.of(file).len());
                let (a, b) = (a.of(file).start, b.of(file).start);
                bytes[a..a + len].copy_from_slice(&file[b..b + len]);
                bytes[b..b + len].copy_from_slice(&file[a..a + len]);
            }
            Damage::Copy { from, to } => {
                let len = from.of(file).len().min(to.of(file).len());
                let (from, to) = (from.of(file).start, to.of(file).start);
                bytes[to..to + len].copy_from_slice(&file[from..from + len]);
            }
            Damage::Insert(sector) => {
                bytes.splice(
                    sector.of(file).start..sector.of(file).start,
                    file[sector.of(file)].iter().copied(),
                );
            }
        }
        (bytes != file).then_some(bytes)
    }
}

/// Every bit and every length; of sectors, each zeroed and doubled, each pair exchanged, and each in the place of the
/// next.
fn all_damage(len: usize) -> impl Iterator<Item = Damage> {
    let flips = (0..len * 8).map(Damage::Flip);
    let cuts = (0..len).map(Damage::Cut);
    flips.chain(cuts).chain(SECTOR_BYTES.into_iter().flat_map(move |bytes| {
        let count = len.div_ceil(bytes);
        let sector = move |index| Sector { index, bytes };
        let pairs = (0..count).flat_map(move |a| (a + 1..count).map(move |b| (sector(a), sector(b))));
        let alone = (0..count).map(sector).flat_map(|sector| [Damage::Zero(sector), Damage::Insert(sector)]);
        let pairs = pairs.flat_map(|(a, b)| {
            let copies = [Damage::Copy { from: a, to: b }, Damage::Copy { from: b, to: a }];
            std::iter::once(Damage::Swap(a, b)).chain(copies)
        });
        alone.chain(pairs)
    }))
}

/// All of it, or every so manieth and everything that meets the first bytes.
fn sampled(len: usize, header_bytes: usize, every: usize) -> impl Iterator<Item = Damage> {
    let is_full = scale() == Scale::Full;
    all_damage(len).enumerate().filter_map(move |(number, damage)| {
        let meets_header = match damage {
            Damage::Flip(bit) => bit / 8 < header_bytes,
            Damage::Cut(len) => len <= header_bytes,
            _ => false,
        };
        (is_full || meets_header || number % every == 0).then_some(damage)
    })
}

/// Tries each damage on two threads and says how much that was.
#[track_caller]
fn check_all(
    what: &str,
    damage: Vec<Damage>,
    check: impl Fn(&SimulatedDisk, Damage) -> Result<bool, String> + Sync,
) {
    let (first, second) = damage.split_at(damage.len() / 2);
    let check_part = |part: &[Damage]| {
        let disk = SimulatedDisk::new();
        let tried = part.iter().filter(|damage| {
            check(&disk, **damage).unwrap_or_else(|fault| panic!("{what}, {damage:?}: {fault}"))
        });
        tried.count()
    };
    let tried = std::thread::scope(|scope| {
        let other = scope.spawn(|| check_part(second));
        check_part(first) + other.join().unwrap()
    });
    println!("{what}: {tried} damaged files, none taken for good");
}

/// A journal of one segment, whose records all but the last few are known to be durable, and its records.
fn journal() -> (Vec<u8>, PathBuf, Vec<Vec<u8>>) {
    let (disk, dir) = (SimulatedDisk::new(), Path::new("/journal"));
    let options = OpenOptions {
        run_id: Some(RunId([9; 16])),
        durability: Durability::Checkpoint,
        ..OpenOptions::default()
    };
    let mut journal = Journal::open(disk.shared(), dir, options).unwrap().journal;
    let mut records = Vec::new();
    let path = dir.join("00000001.wal");
    while disk.len_bytes(&path).unwrap() < JOURNAL_BYTES as u64 - 300 {
        let number = records.len();
        let payload: Vec<u8> = (0..number % 190).map(|at| (at * 7 + number) as u8).collect();
        journal.append(1 + number as u16 % 5, &payload).unwrap();
        records.push(payload);
        if number % 5 == 4 {
            journal.sync().unwrap();
        }
    }
    drop(journal);
    (disk.read(&path, u64::MAX).unwrap(), path, records)
}

#[test]
fn a_journal_with_any_bit_flipped_cut_anywhere_or_with_any_sector_lost_is_never_taken_for_good() {
    let (good, path, records) = journal();
    let is_prefix = |contents: &journal::Contents| {
        contents.records.iter().zip(&records).all(|(record, payload)| *record.payload == payload[..])
            && contents.records.len() <= records.len()
    };
    let frames = frames(&good);
    check_all("journal", sampled(good.len(), 64, 5003).collect(), |disk, damage| {
        let Some(bytes) = damage.apply(&good) else { return Ok(false) };
        let is_whole_frame = bytes.len() < good.len() && good.starts_with(&bytes);
        disk.put(&path, bytes.as_slice());
        match journal::read(disk, path.parent().unwrap()) {
            Err(OpenError::Disk(error)) => Err(error.to_string()),
            // Refused.
            Err(_) => Ok(true),
            Ok(contents) if !is_prefix(&contents) => Err("a record was read that nobody wrote".to_owned()),
            // Announced, and nothing that was promised in what is left of the file is given up.
            Ok(contents) if matches!(contents.tail, Tail::Torn { .. }) => {
                let kept = contents.records.len() as u64;
                let watermark =
                    frames.iter().filter(|frame| frame.is_in(&good, &bytes)).map(|frame| frame.watermark);
                match watermark.max().unwrap_or(0) {
                    promised if kept < promised => Err(format!(
                        "{kept} records are kept, and an intact one says that {promised} were durable"
                    )),
                    _ => Ok(true),
                }
            }
            // A file that ends behind a frame looks like one that never had more: only its successor could tell.
            Ok(_) if is_whole_frame => Ok(true),
            Ok(_) => Err("it was taken for good".to_owned()),
        }
    });
}

/// Where a frame is, and what it says was durable.
struct Frame {
    place: std::ops::Range<usize>,
    watermark: u64,
}

impl Frame {
    /// Whether a damaged file still has it, where it was.
    fn is_in(&self, good: &[u8], damaged: &[u8]) -> bool {
        damaged.get(self.place.clone()) == good.get(self.place.clone())
    }
}

fn frames(segment: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut at = 64;
    while at < segment.len() {
        let end = at + 32 + u32::from_le_bytes(*segment[at..].first_chunk().unwrap()) as usize;
        frames.push(Frame {
            place: at..end,
            watermark: u64::from_le_bytes(*segment[at + 16..].first_chunk().unwrap()),
        });
        at = end;
    }
    frames
}

struct Tensors(Vec<Vec<f32>>);

impl Snapshot for Tensors {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        let names = ["fc1.weight", "fc1.bias", "optimizer/exp_avg/fc1.weight", "optimizer/exp_avg/fc1.bias"];
        let named = names.into_iter().zip(&self.0);
        named.map(|(name, elements)| TensorView::new(name, vec![elements.len()], elements)).collect()
    }
}

fn checkpoint() -> (Vec<u8>, PathBuf) {
    let disk = SimulatedDisk::new();
    let store = Store::open(disk.shared(), Path::new("/checkpoints")).unwrap();
    let tensor = |count: usize| (0..count).map(|at| (at as f32).sin()).collect::<Vec<f32>>();
    let elements = CHECKPOINT_BYTES / 4 - 256;
    let request = Request {
        kind: Kind::Epoch,
        run_id: RunId([9; 16]),
        epoch: 3,
        step: 1200,
        state: vec![7; 100],
        snapshot: Arc::new(Tensors(vec![
            tensor(elements / 2),
            tensor(1000),
            tensor(elements / 2 - 2000),
            tensor(1000),
        ])),
    };
    let path = store.path(store.publish(request).unwrap().name);
    (disk.read(&path, u64::MAX).unwrap(), path)
}

#[test]
fn a_checkpoint_with_any_bit_flipped_cut_anywhere_or_with_any_sector_lost_is_never_taken_for_good() {
    let (good, path) = checkpoint();
    assert!(good.len() > CHECKPOINT_BYTES * 9 / 10 && good.len() <= CHECKPOINT_BYTES, "{} bytes", good.len());
    let header_bytes = 8 + u64::from_le_bytes(*good.first_chunk().unwrap()) as usize;
    check_all("checkpoint", sampled(good.len(), header_bytes, 3001).collect(), |disk, damage| {
        let Some(bytes) = damage.apply(&good) else { return Ok(false) };
        disk.put(&path, bytes);
        match Checkpoint::load(disk, &path) {
            Err(_) => Ok(true),
            Ok(_) => Err("it was taken for good".to_owned()),
        }
    });
}
