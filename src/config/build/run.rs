//! The run as a whole, `[train]` and `[checkpoint]`.

use super::Reader;
use super::schedule::texts;
use super::text_of;
use crate::config::interruption::{MemoryPlan, MicroBatch, OnOom, StopPlan, Usr1};
use crate::config::plan::{
    CheckpointPlan, DataPlan, Device, Durability, EarlyStopping, LossPlan, LossScalePlan, Metric, MlflowPlan,
    Precision, ReportPlan, TargetUse, TrainPlan,
};
use crate::config::value::{KeyPath, Value};

/// The settings at the top of the file, without the metrics.
pub(super) struct Top {
    pub(super) seed: u64,
    pub(super) device: Device,
    pub(super) threads: usize,
    pub(super) spin: bool,
}

pub(super) fn top(reader: &mut Reader<'_>, cores: usize) -> Option<Top> {
    let seed = reader.integer("seed");
    let device = reader.text("device").and_then(|text| Device::parse(&text));
    let threads = reader.optional_integer("threads").map(|threads| threads.unwrap_or(cores));
    let spin = reader.bool("spin");
    Some(Top { seed: seed?, device: device?, threads: threads?, spin: spin? })
}

pub(super) fn metrics(reader: &mut Reader<'_>) -> Option<Vec<Metric>> {
    let items = reader.list("metrics")?;
    items.into_iter().map(|item| text_of(item).and_then(|text| Metric::parse(&text))).collect()
}

/// Every metric compares the model's output with the target; a loss that the model computes has neither.
pub(super) fn check_metrics(reader: &mut Reader<'_>, metrics: Option<&[Metric]>, loss: &LossPlan) {
    let has_target = match loss.kind.target() {
        TargetUse::Always => true,
        TargetUse::IfNamed => loss.target.is_some(),
        TargetUse::Never => false,
    };
    if !has_target && metrics.is_some_and(|metrics| !metrics.is_empty()) {
        let path = KeyPath::dotted("metrics");
        let found = reader.settings.given(&path).map(Value::short).unwrap_or_default();
        let expected = format!("[] with loss.kind = \"{}\", which has no target", loss.kind.name());
        reader.wrong(&path, &found, &expected, "remove it");
    }
}

pub(super) fn train(reader: &mut Reader<'_>, data: Option<&DataPlan>) -> Option<TrainPlan> {
    let epochs = reader.integer("train.epochs");
    let batch_size = reader.integer::<usize>("train.batch_size");
    let micro_batch = micro_batch(reader);
    let eval_batch_size = reader.optional_integer("train.eval_batch_size");
    let eval_every_epochs = reader.integer("train.eval_every_epochs");
    let clip_norm = reader.optional_float("train.clip_norm");
    let clip_value = reader.optional_float("train.clip_value");
    let max_steps = reader.optional_integer("train.max_steps");
    let max_time_s = reader.optional_float("train.max_time_s");
    let early_stopping = early_stopping(reader, data);
    let max_refused_steps = reader.integer("train.max_refused_steps");
    let precision = precision(reader);
    if let (Some(batch_size), Some(MicroBatch::Examples(micro_batch))) = (batch_size, micro_batch)
        && micro_batch > batch_size
    {
        let path = KeyPath::dotted("train.micro_batch");
        let expected = format!("at most train.batch_size, which is {batch_size}");
        reader.wrong(&path, &micro_batch.to_string(), &expected, "make it smaller, or the batch larger");
    }
    Some(TrainPlan {
        epochs: epochs?,
        batch_size: batch_size?,
        micro_batch: micro_batch?,
        eval_batch_size: eval_batch_size?,
        eval_every_epochs: eval_every_epochs?,
        clip_norm: clip_norm?,
        clip_value: clip_value?,
        max_steps: max_steps?,
        max_time_s: max_time_s?,
        early_stopping: early_stopping?,
        max_refused_steps: max_refused_steps?,
        precision: precision?,
    })
}

fn precision(reader: &mut Reader<'_>) -> Option<Precision> {
    Some(match reader.text("train.precision")?.as_str() {
        "f16" => {
            let initial = reader.float("train.loss_scale.initial");
            let growth_steps = reader.integer("train.loss_scale.growth_steps");
            // The table took it for a number of single precision.
            Precision::F16(LossScalePlan { initial: initial? as f32, growth_steps: growth_steps? })
        }
        "bf16" => Precision::Bf16,
        _ => Precision::F32,
    })
}

fn micro_batch(reader: &mut Reader<'_>) -> Option<MicroBatch> {
    let path = "train.micro_batch";
    let given = reader.optional(path, |reader, value| match value {
        // The one word that the key takes.
        Value::Text(_) => Some(MicroBatch::Auto),
        number => reader.converted(path, &number).map(MicroBatch::Examples),
    });
    given.map(|given| given.unwrap_or(MicroBatch::Whole))
}

#[expect(clippy::option_option, reason = "wrong, not set and set are three things")]
fn early_stopping(reader: &mut Reader<'_>, data: Option<&DataPlan>) -> Option<Option<EarlyStopping>> {
    let Some(patience) = reader.optional_integer("train.early_stopping.patience")? else { return Some(None) };
    let min_delta = reader.float("train.early_stopping.min_delta");
    let given = reader.optional_text("train.early_stopping.monitor");
    let metrics = metrics(reader)?;
    let has_validation = data?.has_validation();
    let mut names = vec!["train_loss".to_owned()];
    if has_validation {
        names.push("val_loss".to_owned());
        names.extend(metrics.iter().map(|metric| format!("val_{metric}")));
    }
    let default = if has_validation { "val_loss" } else { "train_loss" };
    let monitor = given?.unwrap_or_else(|| default.to_owned());
    if !names.contains(&monitor) {
        let path = KeyPath::dotted("train.early_stopping.monitor");
        let known: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        let expected = format!("a value that this run measures: {}", known.join(", "));
        let remedy =
            if has_validation { "add the metric to `metrics`" } else { "name validation data in [data]" };
        reader.wrong(&path, &Value::Text(monitor.clone()).short(), &expected, remedy);
    }
    Some(Some(EarlyStopping { patience, min_delta: min_delta?, monitor }))
}

pub(super) fn checkpoint(reader: &mut Reader<'_>) -> Option<CheckpointPlan> {
    let every_epochs = reader.integer("checkpoint.every_epochs");
    let every_steps = reader.optional_integer("checkpoint.every_steps");
    let every_minutes = reader.optional_float("checkpoint.every_minutes");
    let on_best = reader.bool("checkpoint.on_best");
    let keep_last = reader.integer("checkpoint.keep_last");
    let keep_every_epochs = reader.optional_integer("checkpoint.keep_every_epochs");
    let keep_every_steps = reader.optional_integer("checkpoint.keep_every_steps");
    let digest_every_steps = reader.integer("checkpoint.digest_every_steps");
    let reserve = reader.bool("checkpoint.reserve");
    let disk_full_timeout_s = reader.float("checkpoint.disk_full_timeout_s");
    let durability = match reader.text("checkpoint.durability")?.as_str() {
        "step" => Some(Durability::Step),
        "interval" => reader.float("checkpoint.interval_s").map(Durability::Interval),
        "checkpoint" => Some(Durability::Checkpoint),
        _ => None,
    };
    Some(CheckpointPlan {
        every_epochs: every_epochs?,
        every_steps: every_steps?,
        every_minutes: every_minutes?,
        on_best: on_best?,
        keep_last: keep_last?,
        keep_every_epochs: keep_every_epochs?,
        keep_every_steps: keep_every_steps?,
        digest_every_steps: digest_every_steps?,
        reserve: reserve?,
        disk_full_timeout_s: disk_full_timeout_s?,
        durability: durability?,
    })
}

pub(super) fn stop(reader: &mut Reader<'_>) -> Option<StopPlan> {
    let grace_s = reader.float("stop.grace_s");
    let usr1 = match reader.text("stop.usr1")?.as_str() {
        "save" => Some(Usr1::Save),
        "stop" => Some(Usr1::Stop),
        _ => None,
    };
    Some(StopPlan { grace_s: grace_s?, usr1: usr1? })
}

pub(super) fn report(reader: &mut Reader<'_>) -> Option<ReportPlan> {
    Some(ReportPlan { tensorboard: reader.bool("report.tensorboard")? })
}

pub(super) fn mlflow(reader: &mut Reader<'_>) -> Option<MlflowPlan> {
    let uri = reader.optional_text("mlflow.uri");
    let experiment = reader.optional_text("mlflow.experiment");
    let run_name = reader.optional_text("mlflow.run_name");
    let artifact = reader.bool("mlflow.artifact");
    let every_steps = reader.integer("mlflow.every_steps");
    if let Some(Some(uri)) = &uri
        && !(uri.starts_with("http://") || uri.starts_with("https://"))
    {
        let path = KeyPath::dotted("mlflow.uri");
        let remedy = "give the address that `mlflow server` prints";
        reader.wrong(&path, &Value::Text(uri.clone()).short(), "a URI with http:// or https://", remedy);
    }
    Some(MlflowPlan {
        uri: uri?,
        experiment: experiment?,
        run_name: run_name?,
        artifact: artifact?,
        every_steps: every_steps?,
    })
}

pub(super) fn memory(reader: &mut Reader<'_>) -> Option<MemoryPlan> {
    let on_oom = match reader.text("memory.on_oom")?.as_str() {
        "shrink" => Some(OnOom::Shrink),
        "stop" => Some(OnOom::Stop),
        _ => None,
    };
    let watch = reader.bool("memory.watch");
    let recompute = texts(reader, "memory.recompute");
    let budget_mb = reader.optional_float("memory.budget_mb");
    if let (Some([_, ..]), Some(Some(_))) = (recompute.as_deref(), budget_mb) {
        reader.exclusive(KeyPath::dotted("memory.recompute"), KeyPath::dotted("memory.budget_mb"));
    }
    Some(MemoryPlan { on_oom: on_oom?, watch: watch?, recompute: recompute?, budget_mb: budget_mb? })
}
