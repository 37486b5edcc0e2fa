//! What the journal and the checkpoints cost, each against what the same bytes cost without them.
//!
//!     cargo bench --manifest-path runtime/benches/Cargo.toml
//!
//! Each measurement and its limit are timed in turn, in alternating order, so that both see the same machine. Criterion
//! times ours; the table at the end gives the median ratio of the pairs and the quartiles. `STORAGE_BENCH_DIR` names
//! the file system to measure, by default that of the build.

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use trainer_runtime::RunId;
use trainer_runtime::checkpoint::{Kind, Request, Snapshot, Store, TensorView};
use trainer_runtime::disk::RealDisk;
use trainer_runtime::journal::{Durability, Journal, OpenOptions as JournalOptions};
use trainer_runtime_benches::Pairs;

/// The payload of the record of a training step, in bytes.
const STEP_BYTES: usize = 52;

/// A frame's bytes before its payload.
const FRAME_HEAD_BYTES: usize = 32;

/// Appends in one measurement, so that a clock reading weighs nothing.
const APPENDS: usize = 2000;

const DURABLE_APPENDS: usize = 20;

const REPLAYED_RECORDS: u64 = 1_000_000;

const CHECKPOINT_BYTES: usize = 256 << 20;

/// The checkpoint has this many tensors of equal size.
const TENSORS: usize = 32;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut lines = Vec::new();
    append(&mut criterion, &mut lines);
    durable_append(&mut criterion, &mut lines);
    replay(&mut criterion, &mut lines);
    checkpoint(&mut criterion, &mut lines);
    criterion.final_summary();
    println!("\n| | pairs | ours | limit | ratio: median | quartiles | at most |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    lines.iter().for_each(|line| println!("{line}"));
}

/// One line of the table, unless the measurement was filtered out; `units` of work are in one.
fn line(name: &str, pairs: &Pairs, units: f64, at_most: f64) -> Option<String> {
    if pairs.count() == 0 {
        return None;
    }
    let (ours, limit, ratio) = (pairs.ours_s(), pairs.limit_s(), pairs.ratio());
    let time = |seconds: f64| {
        let each = seconds / units;
        if each < 1e-3 { format!("{:.2} µs", each * 1e6) } else { format!("{:.1} ms", each * 1e3) }
    };
    Some(format!(
        "| {name} | {} | {} | {} | {:.3} | {:.3} to {:.3} | {at_most} |",
        pairs.count(),
        time(ours.median),
        time(limit.median),
        ratio.median,
        ratio.low,
        ratio.high
    ))
}

/// Runs one measurement under Criterion, so that it counts and times, and keeps the pairs.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    seconds: u64,
    mut ours: impl FnMut() -> Duration,
    mut limit: impl FnMut() -> Duration,
) -> Pairs {
    let mut pairs = Pairs::default();
    let mut group = criterion.benchmark_group("storage");
    group.sampling_mode(SamplingMode::Flat).sample_size(20);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(seconds));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| (0..count).map(|_| pairs.take(&mut ours, &mut limit)).sum());
    });
    group.finish();
    pairs
}

fn scratch() -> tempfile::TempDir {
    let dir = std::env::var_os("STORAGE_BENCH_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    fs::create_dir_all(&dir).expect("the folder to measure can be created");
    tempfile::tempdir_in(dir).expect("the folder to measure can be written to")
}

fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(run());
    start.elapsed()
}

fn journal(dir: &Path, durability: Durability) -> Journal {
    let options = JournalOptions { durability, ..JournalOptions::default() };
    Journal::open(RealDisk::shared(), dir, options).expect("a journal opens").journal
}

fn plain_file(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).expect("a file opens")
}

fn append(criterion: &mut Criterion, lines: &mut Vec<String>) {
    for (name, payload_bytes, count) in
        [("append, step", STEP_BYTES, APPENDS), ("append, 4 KiB", 4096, APPENDS / 20)]
    {
        let dir = scratch();
        let mut journal = journal(&dir.path().join("journal"), Durability::Interval(Duration::from_secs(1)));
        let mut file = plain_file(&dir.path().join("plain"));
        let payload = vec![7_u8; payload_bytes];
        let frame = vec![7_u8; FRAME_HEAD_BYTES + payload_bytes];
        // Synced outside of the measured time: a journal that is given more than 16 MiB between two syncs waits for
        // the disk, and what is measured here is an append that does not.
        let ours = || {
            let time =
                timed(|| (0..count).for_each(|_| _ = journal.append(4, &payload).expect("it appends")));
            journal.sync().expect("it syncs");
            time
        };
        let limit = || {
            let time = timed(|| (0..count).for_each(|_| file.write_all(&frame).expect("it writes")));
            file.sync_data().expect("it syncs");
            time
        };
        let pairs = measure(criterion, name, 8, ours, limit);
        lines.extend(line(&format!("{name} / write(2)"), &pairs, count as f64, 1.5));
    }
}

fn durable_append(criterion: &mut Criterion, lines: &mut Vec<String>) {
    let dir = scratch();
    let mut journal = journal(&dir.path().join("journal"), Durability::Step);
    let mut file = plain_file(&dir.path().join("plain"));
    let (payload, frame) = ([7_u8; STEP_BYTES], [7_u8; FRAME_HEAD_BYTES + STEP_BYTES]);
    let ours =
        || timed(|| (0..DURABLE_APPENDS).for_each(|_| _ = journal.append(4, &payload).expect("it appends")));
    let limit = || {
        timed(|| {
            for _ in 0..DURABLE_APPENDS {
                file.write_all(&frame).expect("it writes");
                file.sync_data().expect("it syncs");
            }
        })
    };
    let pairs = measure(criterion, "append, durable", 15, ours, limit);
    lines.extend(line("append, durable / write + fdatasync", &pairs, DURABLE_APPENDS as f64, 1.1));
}

fn replay(criterion: &mut Criterion, lines: &mut Vec<String>) {
    for (name, payload_bytes) in [("replay, step", STEP_BYTES), ("replay, 1 KiB", 1024)] {
        let dir = scratch();
        let mut journal = journal(dir.path(), Durability::Checkpoint);
        let records = REPLAYED_RECORDS / if payload_bytes > STEP_BYTES { 4 } else { 1 };
        let payload = vec![7_u8; payload_bytes];
        (0..records).for_each(|_| _ = journal.append(4, &payload).expect("it appends"));
        journal.close().expect("it closes");
        let segments: Vec<PathBuf> = fs::read_dir(dir.path())
            .expect("it is listed")
            .map(|entry| entry.expect("it is listed").path())
            .collect();
        let ours = || {
            timed(|| {
                let options =
                    JournalOptions { durability: Durability::Checkpoint, ..JournalOptions::default() };
                let opened = Journal::open(RealDisk::shared(), dir.path(), options).expect("it opens");
                assert_eq!(opened.records.len() as u64, records);
                opened.records.iter().map(|record| record.payload.len()).sum::<usize>()
            })
        };
        let limit = || {
            timed(|| {
                let read = |path| crc32fast::hash(&fs::read(path).expect("it is read"));
                segments.iter().map(read).fold(0, |sum, crc| sum ^ crc)
            })
        };
        let pairs = measure(criterion, name, 8, ours, limit);
        lines.extend(line(&format!("{name} / read and checksum"), &pairs, records as f64, 2.0));
    }
}

struct State(Vec<Vec<f32>>);

impl Snapshot for State {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        let named = |(index, values): (usize, &'_ Vec<f32>)| (format!("layer{index}.weight"), values.len());
        let names = self.0.iter().enumerate().map(named);
        let views = names.zip(&self.0);
        views.map(|((name, len), values)| TensorView::new(name, vec![len], values)).collect()
    }
}

/// Values that no storage device can compress.
fn state() -> Arc<State> {
    let mut bits = 1_u32;
    let mut value = || {
        bits ^= bits << 13;
        bits ^= bits >> 17;
        bits ^= bits << 5;
        f32::from_bits(bits & 0x3fff_ffff)
    };
    let elements = CHECKPOINT_BYTES / TENSORS / size_of::<f32>();
    Arc::new(State((0..TENSORS).map(|_| (0..elements).map(|_| value()).collect()).collect()))
}

fn checkpoint(criterion: &mut Criterion, lines: &mut Vec<String>) {
    let dir = scratch();
    let store = Store::open(RealDisk::shared(), &dir.path().join("checkpoints")).expect("a store opens");
    let snapshot = state();
    let request = || Request {
        kind: Kind::Step,
        run_id: RunId([1; 16]),
        epoch: 1,
        step: 1,
        state: vec![0; 64],
        snapshot: snapshot.clone(),
    };
    let path = store.path(request().name());
    let plain = dir.path().join("plain");
    // Both write a new file: the one before is gone, and what the disk still has to do for it is done.
    let fresh = |path: &Path| {
        _ = fs::remove_file(path);
        rustix::fs::sync();
    };
    let publish = || {
        fresh(&path);
        timed(|| store.publish(request()).expect("it is published"))
    };
    let write = || {
        fresh(&plain);
        timed(|| {
            let mut file = File::create(&plain).expect("a file opens");
            snapshot.tensors().iter().for_each(|tensor| file.write_all(&tensor.bytes).expect("it writes"));
            file.sync_data().expect("it syncs");
        })
    };
    let pairs = measure(criterion, "checkpoint, 256 MiB", 60, publish, write);
    lines.extend(line("checkpoint, 256 MiB / write + fdatasync", &pairs, 1.0, 1.15));

    let load = || {
        forget(&path);
        timed(|| store.load(request().name()).expect("it loads").state().len())
    };
    let read = || {
        forget(&plain);
        timed(|| {
            let mut buffer = vec![0_u8; 1 << 20];
            let mut file = File::open(&plain).expect("it opens");
            while file.read(&mut buffer).expect("it reads") > 0 {}
        })
    };
    let pairs = measure(criterion, "load and verify, 256 MiB, cold", 60, load, read);
    lines.extend(line("load and verify, 256 MiB, cold / read", &pairs, 1.0, 1.25));
}

/// Drops what the system has of a file in memory.
fn forget(path: &Path) {
    let file = File::open(path).expect("it opens");
    file.sync_all().expect("it syncs");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("the system drops its pages");
}
