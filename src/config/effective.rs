//! From a plan back to settings: every setting that applies, with its value.

use std::collections::BTreeMap;
use std::path::Path;

use super::interruption::{MemoryPlan, MicroBatch, OnOom, StopPlan, Usr1};
use super::plan::{
    ArrayMap, Builtin, CheckpointPlan, DataPlan, DataSource, Durability, Init, LossScalePlan, MlflowPlan,
    ModelPlan, ModelSource, Plan, Precision, ReportPlan, ScheduleKind, SchedulePlan, ScheduleUnit, TrainPlan,
    WeightsPlan,
};
use super::value::{KeyPath, Value};

mod generated_data;
mod loss;
mod optimizer;

/// The settings that `plan` was made from, completed: every setting that applies and is set.
///
/// Paths that are not UTF-8, which loading refuses, lose what is not.
pub(super) fn effective(plan: &Plan) -> BTreeMap<KeyPath, Value> {
    let Plan {
        seed,
        device,
        threads,
        spin,
        model,
        data,
        loss,
        metrics,
        optimizer,
        schedule,
        train,
        checkpoint,
        stop,
        memory,
        report,
        mlflow,
    } = plan;
    let mut out = Writer::default();
    out.integer("seed", *seed);
    out.text("device", device.to_string());
    out.integer("threads", *threads as u64);
    out.put("spin", Value::Bool(*spin));
    out.texts("metrics", metrics.iter().map(ToString::to_string));
    write_model(&mut out, model);
    write_data(&mut out, data);
    loss::write(&mut out, loss);
    optimizer::write(&mut out, optimizer);
    write_schedule(&mut out, schedule);
    write_train(&mut out, train);
    write_checkpoint(&mut out, checkpoint);
    write_interruption(&mut out, stop, memory);
    let ReportPlan { tensorboard } = report;
    out.put("report.tensorboard", Value::Bool(*tensorboard));
    write_mlflow(&mut out, mlflow);
    out.values
}

#[derive(Default)]
struct Writer {
    values: BTreeMap<KeyPath, Value>,
}

impl Writer {
    fn put(&mut self, path: &str, value: Value) {
        self.put_at(KeyPath::dotted(path), value);
    }

    fn put_at(&mut self, path: KeyPath, value: Value) {
        self.values.insert(path, value);
    }

    fn integer(&mut self, path: &str, value: u64) {
        self.put(path, Value::Integer(value.into()));
    }

    fn size(&mut self, path: &str, value: Option<usize>) {
        if let Some(value) = value {
            self.integer(path, value as u64);
        }
    }

    fn float(&mut self, path: &str, value: f64) {
        self.put(path, Value::Float(value));
    }

    fn text(&mut self, path: &str, value: impl Into<String>) {
        self.put(path, Value::Text(value.into()));
    }

    fn path(&mut self, path: &str, value: &Path) {
        self.text(path, value.to_string_lossy());
    }

    fn texts(&mut self, path: &str, values: impl Iterator<Item = String>) {
        self.put(path, Value::List(values.map(Value::Text).collect()));
    }

    fn floats(&mut self, path: &str, values: &[f64]) {
        self.put(path, Value::List(values.iter().copied().map(Value::Float).collect()));
    }
}

fn write_model(out: &mut Writer, model: &ModelPlan) {
    let ModelPlan { source, freeze, train, dimensions, init, weights, classes } = model;
    match source {
        ModelSource::Onnx(path) => out.path("model.onnx", path),
        ModelSource::Builtin(Builtin::Mlp) => out.text("model.builtin", "mlp"),
        ModelSource::Builtin(Builtin::Cnn) => out.text("model.builtin", "cnn"),
    }
    out.texts("model.freeze", freeze.iter().cloned());
    // What has its default is left out, so that a run which began before these settings were there is still the same.
    if !train.is_empty() {
        out.texts("model.train", train.iter().cloned());
    }
    if *init == Init::Seed {
        out.text("model.init", "seed");
    }
    if let Some(WeightsPlan { path, names, strict }) = weights {
        out.path("model.weights", path);
        out.texts("model.weights_names", names.iter().map(ToString::to_string));
        out.put("model.weights_strict", Value::Bool(*strict));
    }
    out.size("model.classes", *classes);
    for (name, size) in dimensions {
        out.put_at(KeyPath::of(["model", "dimensions", name]), Value::Integer((*size).into()));
    }
}

fn write_data(out: &mut Writer, data: &DataPlan) {
    let DataPlan { source, validation_fraction, shuffle, drop_last, inputs, targets } = data;
    match source {
        DataSource::Digits => out.text("data.builtin", "digits"),
        DataSource::Files { train, validation } => {
            if let Some(train) = train {
                out.path("data.train", train);
            }
            if let Some(validation) = validation {
                out.path("data.validation", validation);
            }
        }
        DataSource::Tokens(_) | DataSource::Images(_) => {}
    }
    generated_data::write(out, source);
    if let Some(fraction) = validation_fraction {
        out.float("data.validation_fraction", *fraction);
    }
    out.put("data.shuffle", Value::Bool(*shuffle));
    out.put("data.drop_last", Value::Bool(*drop_last));
    for (table, arrays) in [("inputs", inputs), ("targets", targets)] {
        for (name, map) in arrays {
            write_array(out, &KeyPath::of(["data", table, name]), map);
        }
    }
}

fn write_array(out: &mut Writer, at: &KeyPath, map: &ArrayMap) {
    let ArrayMap { array, columns, file, validation_file, scale, mean, std } = map;
    let singles = |numbers: &[f32]| Value::List(numbers.iter().copied().map(single).collect());
    if let Some(array) = array {
        out.put_at(at.child("array"), Value::Text(array.clone()));
    }
    // An array and an empty list of columns would exclude each other.
    if !columns.is_empty() {
        let columns = columns.iter().cloned().map(Value::Text).collect();
        out.put_at(at.child("columns"), Value::List(columns));
    }
    for (leaf, path) in [("file", file), ("validation_file", validation_file)] {
        if let Some(path) = path {
            out.put_at(at.child(leaf), Value::Text(path.to_string_lossy().into_owned()));
        }
    }
    out.put_at(at.child("scale"), single(*scale));
    out.put_at(at.child("mean"), singles(mean));
    out.put_at(at.child("std"), singles(std));
}

/// A single-precision number as the number with the fewest digits that rounds to it: 0.1 and not 0.10000000149011612.
fn single(number: f32) -> Value {
    let shortest: Option<f64> = number.to_string().parse().ok();
    match shortest {
        // Rounding twice could miss by a bit; then every digit is written.
        Some(short) if (short as f32).to_bits() == number.to_bits() => Value::Float(short),
        _ => Value::Float(f64::from(number)),
    }
}

fn write_schedule(out: &mut Writer, schedule: &SchedulePlan) {
    let SchedulePlan { kind, warmup_steps, warmup_start, unit } = schedule;
    let name = write_schedule_kind(out, kind);
    out.text("schedule.kind", name);
    if !matches!(kind, ScheduleKind::OneCycle { .. }) {
        out.integer("schedule.warmup_steps", *warmup_steps);
        out.float("schedule.warmup_start", *warmup_start);
    }
    if !matches!(kind, ScheduleKind::Constant | ScheduleKind::ReduceOnPlateau { .. }) {
        let unit = match unit {
            ScheduleUnit::Step => "step",
            ScheduleUnit::Epoch => "epoch",
        };
        out.text("schedule.unit", unit);
    }
}

/// Writes what belongs to one kind of schedule, and returns its name.
fn write_schedule_kind(out: &mut Writer, kind: &ScheduleKind) -> &'static str {
    match kind {
        ScheduleKind::Constant => "constant",
        ScheduleKind::Step { step_size, gamma } => {
            out.integer("schedule.step_size", *step_size);
            out.float("schedule.gamma", *gamma);
            "step"
        }
        ScheduleKind::MultiStep { milestones, gamma } => {
            let milestones = milestones.iter().map(|&unit| Value::Integer(unit.into())).collect();
            out.put("schedule.milestones", Value::List(milestones));
            out.float("schedule.gamma", *gamma);
            "multistep"
        }
        ScheduleKind::Exponential { gamma } => {
            out.float("schedule.gamma", *gamma);
            "exponential"
        }
        ScheduleKind::Cosine { t_max, eta_min } => {
            if let Some(t_max) = t_max {
                out.integer("schedule.t_max", *t_max);
            }
            out.float("schedule.eta_min", *eta_min);
            "cosine"
        }
        ScheduleKind::OneCycle { pct_start, div_factor, final_div_factor } => {
            out.float("schedule.pct_start", *pct_start);
            out.float("schedule.div_factor", *div_factor);
            out.float("schedule.final_div_factor", *final_div_factor);
            "one_cycle"
        }
        ScheduleKind::Polynomial { power, total } => {
            out.float("schedule.power", *power);
            if let Some(total) = total {
                out.integer("schedule.total", *total);
            }
            "polynomial"
        }
        ScheduleKind::ReduceOnPlateau { factor, patience, threshold, cooldown, min_lr } => {
            out.float("schedule.factor", *factor);
            out.integer("schedule.patience", *patience);
            out.float("schedule.threshold", *threshold);
            out.integer("schedule.cooldown", *cooldown);
            out.float("schedule.min_lr", *min_lr);
            "reduce_on_plateau"
        }
    }
}

fn write_train(out: &mut Writer, train: &TrainPlan) {
    let TrainPlan {
        epochs,
        batch_size,
        micro_batch,
        eval_batch_size,
        eval_every_epochs,
        clip_norm,
        clip_value,
        max_steps,
        max_time_s,
        early_stopping,
        max_refused_steps,
        precision,
    } = train;
    out.integer("train.epochs", *epochs);
    out.size("train.batch_size", Some(*batch_size));
    match micro_batch {
        MicroBatch::Whole => {}
        MicroBatch::Examples(examples) => out.size("train.micro_batch", Some(*examples)),
        MicroBatch::Auto => out.text("train.micro_batch", "auto"),
    }
    out.size("train.eval_batch_size", *eval_batch_size);
    out.integer("train.eval_every_epochs", *eval_every_epochs);
    for (path, value) in
        [("train.clip_norm", clip_norm), ("train.clip_value", clip_value), ("train.max_time_s", max_time_s)]
    {
        if let Some(value) = value {
            out.float(path, *value);
        }
    }
    if let Some(max_steps) = max_steps {
        out.integer("train.max_steps", *max_steps);
    }
    if let Some(early_stopping) = early_stopping {
        out.integer("train.early_stopping.patience", early_stopping.patience);
        out.float("train.early_stopping.min_delta", early_stopping.min_delta);
        out.text("train.early_stopping.monitor", &early_stopping.monitor);
    }
    out.integer("train.max_refused_steps", *max_refused_steps);
    match precision {
        // Left out, so that a run which began before this setting was there is still the same.
        Precision::F32 => {}
        Precision::Bf16 => out.text("train.precision", "bf16"),
        Precision::F16(LossScalePlan { initial, growth_steps }) => {
            out.text("train.precision", "f16");
            out.put("train.loss_scale.initial", single(*initial));
            out.integer("train.loss_scale.growth_steps", *growth_steps);
        }
    }
}

fn write_checkpoint(out: &mut Writer, checkpoint: &CheckpointPlan) {
    let CheckpointPlan {
        every_epochs,
        every_steps,
        every_minutes,
        on_best,
        keep_last,
        keep_every_epochs,
        keep_every_steps,
        digest_every_steps,
        reserve,
        disk_full_timeout_s,
        durability,
    } = checkpoint;
    out.integer("checkpoint.every_epochs", *every_epochs);
    let optional = [
        ("checkpoint.every_steps", every_steps),
        ("checkpoint.keep_every_epochs", keep_every_epochs),
        ("checkpoint.keep_every_steps", keep_every_steps),
    ];
    for (path, number) in optional {
        if let Some(number) = number {
            out.integer(path, *number);
        }
    }
    if let Some(every_minutes) = every_minutes {
        out.float("checkpoint.every_minutes", *every_minutes);
    }
    out.put("checkpoint.on_best", Value::Bool(*on_best));
    out.size("checkpoint.keep_last", Some(*keep_last));
    out.integer("checkpoint.digest_every_steps", *digest_every_steps);
    out.put("checkpoint.reserve", Value::Bool(*reserve));
    out.float("checkpoint.disk_full_timeout_s", *disk_full_timeout_s);
    let name = match durability {
        Durability::Step => "step",
        Durability::Checkpoint => "checkpoint",
        Durability::Interval(seconds) => {
            out.float("checkpoint.interval_s", *seconds);
            "interval"
        }
    };
    out.text("checkpoint.durability", name);
}

fn write_mlflow(out: &mut Writer, mlflow: &MlflowPlan) {
    let MlflowPlan { uri, experiment, run_name, artifact, every_steps } = mlflow;
    for (path, text) in
        [("mlflow.uri", uri), ("mlflow.experiment", experiment), ("mlflow.run_name", run_name)]
    {
        if let Some(text) = text {
            out.text(path, text);
        }
    }
    out.put("mlflow.artifact", Value::Bool(*artifact));
    out.integer("mlflow.every_steps", *every_steps);
}

fn write_interruption(out: &mut Writer, stop: &StopPlan, memory: &MemoryPlan) {
    let StopPlan { grace_s, usr1 } = stop;
    out.float("stop.grace_s", *grace_s);
    let usr1 = match usr1 {
        Usr1::Save => "save",
        Usr1::Stop => "stop",
    };
    out.text("stop.usr1", usr1);
    let MemoryPlan { on_oom, watch, recompute, budget_mb } = memory;
    let on_oom = match on_oom {
        OnOom::Shrink => "shrink",
        OnOom::Stop => "stop",
    };
    out.text("memory.on_oom", on_oom);
    out.put("memory.watch", Value::Bool(*watch));
    out.texts("memory.recompute", recompute.iter().cloned());
    if let Some(budget_mb) = budget_mb {
        out.float("memory.budget_mb", *budget_mb);
    }
}
