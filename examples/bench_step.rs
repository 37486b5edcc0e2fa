//! Times the training step of a run: the contender `trainer` of `scripts/bench/`, whose README says what it takes and
//! prints.
//!
//!     cargo run --release --example bench_step -- mlp --steps 500 --threads 2 --env bench-env
//!
//! A step is all that a run does between two batches except recording it: the batch is copied into the tensors that
//! the graph reads, ONNX Runtime computes loss and gradients, the gradient norm is taken, and AdamW is applied.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Parser;
use trainer::config::{Sources, load as load_settings};
use trainer::data::HostArray;
use trainer::engine::library::{Request, Threads, load, locate};
use trainer::engine::session::Place;
use trainer::engine::step::{Clipping, StepOutcome};
use trainer::train::prepare::{Prepared, prepare};

const BATCH_SIZE: usize = 64;
const LR: f64 = 1e-3;

/// Times one training step of a network.
#[derive(Parser)]
struct Args {
    /// Name of the network: `<model>.onnx` and `<model>.npz` are in the folder `--env`.
    model: String,
    /// Steps to time, at least 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Threads of the pool that all operators share, and of the optimizer.
    #[arg(long)]
    threads: usize,
    /// Folder with the network and its data.
    #[arg(long)]
    env: PathBuf,
    /// Let waiting threads sleep instead of spin, as `spin = false` does in a run.
    #[arg(long)]
    no_spin: bool,
    /// The ONNX Runtime library; found as `trainer run` finds it if not given.
    #[arg(long)]
    ort_lib: Option<PathBuf>,
}

/// Milliseconds of one step and of its two halves.
struct StepTime {
    gradients_ms: f64,
    update_ms: f64,
    step_ms: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut prepared = open(&args)?;
    let batches = batches(&prepared)?;
    let warmup = (args.steps as usize / 10).max(5);
    let mut losses = Vec::with_capacity(warmup + args.steps as usize);
    let mut times = Vec::with_capacity(args.steps as usize);
    for (step, batch) in (1..).zip(batches.iter().cycle().take(losses.capacity())) {
        let (outcome, time) = take_step(&mut prepared, step, batch)?;
        ensure!(outcome.applied, "step {step} gave loss {}, which is not finite", outcome.loss);
        losses.push(outcome.loss);
        if losses.len() > warmup {
            times.push(time);
        }
    }
    let result = serde_json::json!({
        "name": "trainer",
        "median_ms": median(times.iter().map(|time| time.step_ms)),
        "min_ms": times.iter().map(|time| time.step_ms).min_by(f64::total_cmp),
        "gradients_ms": median(times.iter().map(|time| time.gradients_ms)),
        "update_ms": median(times.iter().map(|time| time.update_ms)),
        "peak_rss_mb": peak_rss_mb()?,
        "first_loss": losses.first(),
        "last_loss": losses.last(),
    });
    println!("{result}");
    Ok(())
}

/// Model, data and engine, made from settings as a run makes them.
fn open(args: &Args) -> anyhow::Result<Prepared> {
    let file = |suffix: &str| args.env.join(format!("{}.{suffix}", args.model)).display().to_string();
    let sets = [
        format!("model.onnx={}", file("onnx")),
        format!("data.train={}", file("npz")),
        "data.inputs.x.array=x".to_owned(),
        "data.targets.y.array=y".to_owned(),
        "data.shuffle=false".to_owned(),
        format!("train.batch_size={BATCH_SIZE}"),
        "optimizer.kind=adamw".to_owned(),
        format!("optimizer.lr={LR}"),
    ];
    let sources = Sources { sets: sets.to_vec(), ..Sources::default() };
    let plan = load_settings(&sources)?.plan;
    let located = locate(&Request { explicit: args.ort_lib.clone(), ..Request::default() })?;
    let runtime = load(&located, Threads { count: args.threads, spin: !args.no_spin })?;
    Ok(prepare(plan, &runtime, Place::Cpu, None)?)
}

/// All batches of an epoch, in the order of the file. Preparing a batch goes on beside the step in a run, so it is not
/// timed; copying it to where the graph reads it is.
fn batches(prepared: &Prepared) -> anyhow::Result<Vec<Vec<HostArray>>> {
    let loader = &prepared.train.0;
    let examples: Vec<usize> = (0..loader.len()).collect();
    let filled = examples.chunks_exact(BATCH_SIZE).map(|examples| {
        let mut arrays = Vec::new();
        loader.load(1, examples, &mut arrays)?;
        Ok(arrays)
    });
    let filled: Vec<_> = filled.collect::<anyhow::Result<_>>()?;
    ensure!(!filled.is_empty(), "the data hold {} examples, less than one batch", loader.len());
    Ok(filled)
}

fn take_step(
    prepared: &mut Prepared,
    step: u64,
    batch: &[HostArray],
) -> anyhow::Result<(StepOutcome, StepTime)> {
    let engine = &mut prepared.engine;
    let start = Instant::now();
    engine.gradients(&prepared.names, batch, &mut |_, _, _| {})?;
    let computed = Instant::now();
    let outcome = engine.commit(step, LR, Clipping::default())?;
    let committed = Instant::now();
    let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
    let time = StepTime {
        gradients_ms: ms(start, computed),
        update_ms: ms(computed, committed),
        step_ms: ms(start, committed),
    };
    Ok((outcome, time))
}

/// The middle value, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// The most memory this process has had resident, in 10^6 bytes.
fn peak_rss_mb() -> anyhow::Result<f64> {
    let path = Path::new("/proc/self/status");
    let status = read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in it")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}
