//! An allocator that fails: whatever allocation it is, nothing that was durable is lost.
//!
//! A Rust program ends with SIGABRT when memory for a value can not be had, so what holds here is what holds for the death
//! of a process. The process is the embedded example: a journal, checkpoints in the background, a resume.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; what helps several tests is no test function itself"
)]

#[path = "../examples/embed.rs"]
#[allow(dead_code)]
mod embed;

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trainer_runtime::checkpoint::{EmergencyCause, Kind, Name, Receipt, Snapshot, Store, TensorView};
use trainer_runtime::codec::EncodeError;
use trainer_runtime::disk::RealDisk;
use trainer_runtime::keeper::{Announce, Keeper, Options, Rank, Save};
use trainer_runtime::memory::{MemoryGroup, Reserve};
use trainer_runtime::signals::Signals;

const LAST_STEP: u64 = 120;

/// The number of the next allocation; counted from 1 once [`FAIL_FROM`] is set.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The first allocation that fails; 0 for none.
static FAIL_FROM: AtomicU64 = AtomicU64::new(0);

/// The last that fails.
static FAIL_TO: AtomicU64 = AtomicU64::new(0);

/// How many bytes are allocated now.
static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);

/// The most of them at one time since this was set.
static PEAK_BYTES: AtomicU64 = AtomicU64::new(0);

struct Failing;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

// SAFETY: what is not failed is left to the system's allocator, with the same arguments; a null pointer says that there is
// no memory, as the trait wants it.
#[allow(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        let from = FAIL_FROM.load(Ordering::Relaxed);
        if from != 0 && (from..=FAIL_TO.load(Ordering::Relaxed)).contains(&number) {
            return std::ptr::null_mut();
        }
        let live_bytes = LIVE_BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed) + layout.size() as u64;
        PEAK_BYTES.fetch_max(live_bytes, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises that `alloc` wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the pointer came from the system's allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Run by the tests below in a process of its own: the example, with an allocation that fails.
#[test]
#[ignore = "is the process whose memory runs out"]
fn starving_process() {
    let Some(work_dir) = std::env::var_os("ALLOCATIONS_TEST_DIR") else { return };
    let number = |key| std::env::var(key).ok().and_then(|text| text.parse::<u64>().ok());
    let signals = Signals::install().unwrap();
    COUNT.store(0, Ordering::Relaxed);
    FAIL_TO.store(number("FAIL_TO").unwrap_or(0), Ordering::Relaxed);
    FAIL_FROM.store(number("FAIL_FROM").unwrap_or(0), Ordering::Relaxed);
    let ended = embed::train(Path::new(&work_dir), LAST_STEP, &signals, |_, _| {});
    FAIL_FROM.store(0, Ordering::Relaxed);
    println!("\nallocations {}", COUNT.load(Ordering::Relaxed));
    // An error that is returned is as good as a death: it is the next process that counts.
    std::process::exit(i32::from(ended.is_err()));
}

/// Runs the process to its end; gives how many allocations it made, if it lived to say so.
fn run(work_dir: &Path, fail: Option<(u64, u64)>) -> Option<u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "starving_process", "--ignored", "--nocapture"]).stdin(Stdio::null());
    command.env("ALLOCATIONS_TEST_DIR", work_dir).stderr(Stdio::null()).env("RUST_BACKTRACE", "0");
    if let Some((from, to)) = fail {
        command.env("FAIL_FROM", from.to_string()).env("FAIL_TO", to.to_string());
    }
    let output = command.output().unwrap();
    let died = output.status.signal();
    assert!(matches!(died, None | Some(6)), "killed by {died:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().find_map(|line| line.strip_prefix("allocations ")?.parse().ok())
}

/// The step and the bytes of the newest checkpoint.
fn newest(work_dir: &Path) -> Option<(u64, Vec<u8>)> {
    let store = Store::open_read_only(RealDisk::shared(), &work_dir.join("checkpoints"));
    let newest = store.newest_valid().unwrap().newest?;
    let weights = newest.tensor("weight").unwrap().bytes.to_vec();
    Some((newest.meta().step, weights))
}

/// Fails allocations in a first process, then in the second, and lets a third end the work.
#[track_caller]
fn check_allocation(from: u64, to: u64, expected: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let mut saved_step = 0;
    for _ in 0..2 {
        run(folder.path(), Some((from, to)));
        let step = newest(folder.path()).map_or(0, |(step, _)| step);
        assert!(step >= saved_step, "allocation {from}: step {saved_step} was durable and is lost");
        saved_step = step;
    }
    assert!(run(folder.path(), None).is_some(), "allocation {from}: the work can not be taken up");
    let (step, weights) = newest(folder.path()).unwrap();
    assert!(step == LAST_STEP && weights == expected, "allocation {from}: another result");
}

/// A few of all allocations; `ALLOCATIONS_TEST_ALL=1` in the environment takes each of them.
#[test]
fn whichever_allocation_fails_once_or_for_ever_nothing_durable_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let count = run(folder.path(), None).expect("the undisturbed process ends");
    let (_, expected) = newest(folder.path()).unwrap();
    let is_all = std::env::var_os("ALLOCATIONS_TEST_ALL").is_some();
    let stride = if is_all { 1 } else { (count / 24).max(1) as usize };
    for number in (1..=count).step_by(stride) {
        check_allocation(number, number, &expected);
        check_allocation(number, u64::MAX, &expected);
    }
}

#[test]
fn giving_up_the_reserve_and_looking_at_the_group_allocate_nothing() {
    let mut reserve = Reserve::new(1 << 20, 1 << 20).unwrap();
    let group = MemoryGroup::of_this_process(Path::new("/"));
    // Other threads of the test program allocate as well, so the least of several counts is taken.
    let least = (0..200).map(|_| {
        let before = COUNT.load(Ordering::Relaxed);
        reserve.release();
        std::hint::black_box(group.as_ref().map(|group| (group.usage(), group.oom_kills())));
        COUNT.load(Ordering::Relaxed) - before
    });
    assert_eq!(least.min(), Some(0));
}

struct Layers(Vec<Vec<f32>>);

impl Snapshot for Layers {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        let views = self.0.iter().enumerate();
        views
            .map(|(index, layer)| TensorView::new(format!("layer.{index}"), vec![layer.len()], layer))
            .collect()
    }
}

struct Records;

impl Announce for Records {
    fn durable(&self, receipt: &Receipt) -> Result<(u16, Vec<u8>), EncodeError> {
        Ok((1, receipt.name.to_string().into_bytes()))
    }

    fn dropped(&self, name: Name) -> Result<(u16, Vec<u8>), EncodeError> {
        Ok((2, name.to_string().into_bytes()))
    }
}

/// What is set aside for it is 8 MiB; the state itself is written from where it is.
#[test]
fn an_emergency_checkpoint_takes_a_few_hundred_bytes_per_tensor_and_nothing_for_what_is_in_them() {
    const TENSORS: usize = 400;
    const TENSOR_BYTES: usize = 128 << 10;
    let folder = tempfile::tempdir().unwrap();
    let opened = Keeper::open(RealDisk::shared(), folder.path(), Options::default(), Box::new(Records));
    let mut keeper = opened.unwrap().keeper;
    let snapshot = Arc::new(Layers(vec![vec![1.0; TENSOR_BYTES / 4]; TENSORS]));
    let mut emergency = |step| {
        let kind = Kind::Emergency(EmergencyCause::OutOfMemory);
        let before = LIVE_BYTES.load(Ordering::Relaxed);
        PEAK_BYTES.store(before, Ordering::Relaxed);
        let save = Save {
            kind,
            rank: Rank::Ordinary,
            epoch: 1,
            step,
            state: vec![0; 100],
            snapshot: snapshot.clone(),
        };
        keeper.save_now(save).unwrap();
        PEAK_BYTES.load(Ordering::Relaxed).saturating_sub(before)
    };
    // The other tests of this program allocate at the same time, but not always.
    let least_bytes = (1..=5).map(&mut emergency).min().unwrap();
    assert!(least_bytes <= (TENSORS * 1024) as u64, "{least_bytes} bytes for {TENSORS} tensors");
}
