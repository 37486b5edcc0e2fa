//! A process that leaks memory at a steady rate and saves its state when the watch over memory says so. It measures how
//! fast a leak may be for the state to be durable before the kernel kills the process:
//!
//! ```text
//! cargo run --release --example leak -- WORK_DIR STATE_MB LEAK_MB_PER_S
//! ```
//!
//! To be run in a control group with a limit on memory; `scripts/memory/leak.py` does that for several rates.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use trainer_runtime::RunId;
use trainer_runtime::checkpoint::{EmergencyCause, Kind, Request, Snapshot, Store, TensorView};
use trainer_runtime::disk::RealDisk;
use trainer_runtime::memory::{Watch, WatchOptions, time_for_save};

struct State(Vec<f32>);

impl Snapshot for State {
    fn tensors(&self) -> Vec<TensorView<'_>> {
        vec![TensorView::new("state", vec![self.0.len()], &self.0)]
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work_dir, state_mb, leak_mb_per_s] = arguments.as_slice() else {
        return Err("usage: leak WORK_DIR STATE_MB LEAK_MB_PER_S".into());
    };
    let (state_mb, leak_mb_per_s): (usize, f64) = (state_mb.parse()?, leak_mb_per_s.parse()?);
    let state = Arc::new(State(vec![1.0; state_mb * 250_000]));
    let store = Store::open(RealDisk::shared(), Path::new(work_dir))?;
    let save = |step| {
        let kind = Kind::Emergency(EmergencyCause::OutOfMemory);
        let (run_id, snapshot) = (RunId([7; 16]), state.clone());
        store.publish(Request { kind, run_id, epoch: 1, step, state: Vec::new(), snapshot })
    };
    // As in a run, the first save says how long one takes.
    let save_s = save(1)?.seconds;
    let (tell, told) = mpsc::channel();
    let needed = time_for_save(Duration::from_secs_f64(save_s));
    let tell = move |pressure: &_| _ = tell.send(Clone::clone(pressure));
    let _watch = Watch::start(&WatchOptions::default(), move || needed, tell)?;
    std::thread::spawn(move || leak(leak_mb_per_s));
    let pressure: trainer_runtime::memory::Pressure = told.recv()?;
    let saved = save(2)?;
    println!("saved in {:.3} s (the first took {save_s:.3} s) after: {pressure}", saved.seconds);
    // Until the kernel ends it.
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

/// Takes memory and never gives it back, a little every few milliseconds.
fn leak(mb_per_s: f64) {
    const PORTION: Duration = Duration::from_millis(2);
    let mut taken: Vec<Vec<u8>> = Vec::new();
    let (since, mut taken_mb) = (Instant::now(), 0.0);
    loop {
        let due_mb = since.elapsed().as_secs_f64() * mb_per_s - taken_mb;
        if due_mb >= 0.25 {
            taken.push(vec![1; (due_mb * 1e6) as usize]);
            taken_mb += due_mb;
        }
        std::thread::sleep(PORTION);
    }
}
