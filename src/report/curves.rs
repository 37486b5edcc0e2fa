//! From what journals hold to a figure: curves of losses, metrics, learning rate, gradient norm and memory, and what
//! happened on the way.

use super::chart::figure::{Colour, Figure, Line, Mark, MarkKind, Panel, Ring, Scale, Style};
use super::clock::Clock;
use super::incidents::marks;
use super::places::Places;
use super::recorded::Recorded;
use crate::train::event::{EpochDone, Event, StepDone};
use std::fmt;

/// What a panel shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Quantity {
    /// Training loss of each step and epoch, and validation loss.
    Loss,
    /// The other values of validation, a panel each.
    Metrics,
    /// Learning rate.
    Lr,
    /// Norm of all gradients together.
    GradientNorm,
    /// What the process has in memory.
    Memory,
}

/// What x is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Along {
    /// Updates.
    Step,
    /// Epochs; a part of one by its batches.
    Epoch,
    /// Time of work, without the time between attempts.
    Time,
}

/// What is shown and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Panels from the top.
    pub what: Vec<Quantity>,
    /// The axis of x.
    pub along: Along,
    /// The axis of y of losses, rates and norms.
    pub scale: Scale,
    /// Each value of a step is shown as the mean of so many; 1 for none.
    pub smooth: usize,
}

/// A run with the name it has in the picture.
#[derive(Debug)]
pub struct NamedRun {
    /// The name.
    pub name: String,
    /// Its journal.
    pub recorded: Recorded,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "loss",
            Self::Metrics => "metrics",
            Self::Lr => "lr",
            Self::GradientNorm => "gradient_norm",
            Self::Memory => "memory",
        })
    }
}

/// Names of the lines of losses, in the legend.
const OF_STEPS: &str = "train, steps";
const OF_EPOCHS: &str = "train, epochs";
const OF_VALIDATION: &str = "validation";

/// The figure of one run or several.
///
/// Along [`Along::Time`] a run without readings of the clock has no points.
#[must_use]
pub fn figure(runs: &[NamedRun], options: &Options) -> Figure {
    let drawn: Vec<Drawn<'_>> =
        runs.iter().enumerate().map(|(number, run)| Drawn::of(run, number, options)).collect();
    let longest = drawn.iter().map(|run| run.places.longest()).fold(0.0, f64::max);
    let (x_label, unit) = options.along.label(longest);
    let mut panels: Vec<Panel> = Vec::new();
    for quantity in &options.what {
        panels.extend(panels_of(*quantity, &drawn, runs.len() > 1, options));
    }
    let points = panels.iter_mut().flat_map(|panel| &mut panel.lines).flat_map(|line| &mut line.points);
    points.for_each(|(x, _)| *x /= unit);
    panels.iter_mut().flat_map(|panel| &mut panel.rings).for_each(|ring| ring.at.0 /= unit);
    let (mut all_marks, mut bands) = (Vec::new(), Vec::new());
    for run in &drawn {
        let (of_run, again) = marks(&run.run.recorded, &run.places);
        all_marks.extend(
            of_run.into_iter().filter_map(|mark| if runs.len() > 1 { run.quiet(mark) } else { Some(mark) }),
        );
        bands.extend(again.into_iter().filter(|_| runs.len() == 1 && options.along != Along::Time));
    }
    all_marks.iter_mut().for_each(|mark| mark.x /= unit);
    all_marks.sort_by(|a, b| a.x.total_cmp(&b.x));
    let named = |(number, run): (usize, &NamedRun)| (run.name.clone(), Colour::of_line(number));
    Figure {
        title: title(runs),
        panels,
        x_label,
        x_is_count: options.along != Along::Time,
        runs: if runs.len() > 1 { runs.iter().enumerate().map(named).collect() } else { Vec::new() },
        marks: all_marks,
        bands,
    }
}

impl Along {
    /// What is written at the axis, and by what its values are divided.
    fn label(self, longest: f64) -> (String, f64) {
        let (words, unit) = match self {
            Self::Step => ("step", 1.0),
            Self::Epoch => ("epoch", 1.0),
            Self::Time if longest < 180.0 => ("time of work, seconds", 1.0),
            Self::Time if longest < 3.0 * 3600.0 => ("time of work, minutes", 60.0),
            Self::Time if longest < 3.0 * 86_400.0 => ("time of work, hours", 3600.0),
            Self::Time => ("time of work, days", 86_400.0),
        };
        (words.to_owned(), unit)
    }
}

fn title(runs: &[NamedRun]) -> String {
    let [NamedRun { name, recorded }] = runs else { return format!("{} runs", runs.len()) };
    let history = &recorded.history;
    let counted = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let end = history.finished.as_ref().map_or(String::new(), |_| ", finished".to_owned());
    let epochs = counted(history.epochs.len() as u64, "epoch");
    format!("{name}: {epochs}, {}{end}", counted(history.last_step(), "step"))
}

/// A run on its way into the figure.
struct Drawn<'a> {
    run: &'a NamedRun,
    places: Places<'a>,
    colour: Colour,
}

impl<'a> Drawn<'a> {
    fn of(run: &'a NamedRun, number: usize, options: &Options) -> Self {
        let history = &run.recorded.history;
        let places = Places::new(history, Clock::of(history), options.along);
        Self { run, places, colour: Colour::of_line(number) }
    }

    /// A mark among those of other runs: in the colour of this one, without a word, and none for what all runs do.
    fn quiet(&self, mark: Mark) -> Option<Mark> {
        let label = String::new();
        (mark.kind != MarkKind::Checkpoint).then_some(Mark { label, colour: self.colour, ..mark })
    }

    fn line(&self, name: &str, style: Style, points: Vec<(f64, f64)>) -> Line {
        Line { name: name.to_owned(), colour: self.colour, style, points }
    }

    /// A value of each step, by ascending x.
    fn of_steps(&self, value: impl Fn(&StepDone) -> f64) -> Vec<(f64, f64)> {
        let steps = self.run.recorded.history.steps.values();
        steps.filter_map(|done| Some((self.places.of_step(done.step)?, value(done)))).collect()
    }

    /// A value of each epoch that has it.
    fn of_epochs(&self, value: impl Fn(&EpochDone) -> Option<f64>) -> Vec<(f64, f64)> {
        let epochs = self.run.recorded.history.epochs.values();
        epochs.filter_map(|done| Some((self.places.of_step(done.step)?, value(done)?))).collect()
    }

    /// A ring around a value of the best epoch.
    fn ring(&self, value: impl Fn(&EpochDone) -> Option<f64>) -> Option<Ring> {
        let best = self.run.recorded.history.best_epoch()?;
        let y = value(best)?;
        let words = format!("best: epoch {}, step {}, {y}", best.epoch, best.step);
        Some(Ring { at: (self.places.of_step(best.step)?, y), colour: Colour::INK, words })
    }
}

fn panels_of(quantity: Quantity, runs: &[Drawn<'_>], is_many: bool, options: &Options) -> Vec<Panel> {
    let panel = |title: &str, scale, lines: Vec<Line>| {
        let lines = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
        Panel { title: title.to_owned(), scale, lines, rings: Vec::new() }
    };
    match quantity {
        Quantity::Loss => vec![loss(runs, is_many, options)],
        Quantity::Metrics => metric_names(runs).iter().map(|name| metric(name, runs, is_many)).collect(),
        Quantity::Lr => {
            let line = |run: &Drawn<'_>| run.line("", Style::Full, run.of_steps(|done| done.lr));
            vec![panel("learning rate", options.scale, runs.iter().map(line).collect())]
        }
        Quantity::GradientNorm => {
            let lines = runs.iter().flat_map(|run| {
                let norms = run.of_steps(|done| done.gradient_norm);
                let single = if options.smooth > 1 { Style::Faint } else { Style::Thin };
                with_means(run, norms, "each step", single, options.smooth)
            });
            vec![panel("gradient norm", options.scale, lines.collect())]
        }
        Quantity::Memory => vec![memory(runs)],
    }
}

/// Values of steps, and their means where those are asked for.
fn with_means(run: &Drawn<'_>, points: Vec<(f64, f64)>, name: &str, style: Style, count: usize) -> Vec<Line> {
    if count <= 1 {
        let name = if style == Style::Thin { "" } else { name };
        return vec![run.line(name, style, points)];
    }
    let smoothed = means(&points, count);
    vec![run.line(name, style, points), run.line(&format!("mean of {count} steps"), Style::Full, smoothed)]
}

/// Each value becomes the mean of itself and those before it, `count` together. What is not finite counts as absent.
fn means(points: &[(f64, f64)], count: usize) -> Vec<(f64, f64)> {
    let mut smoothed = Vec::with_capacity(points.len());
    let (mut sum, mut finite) = (0.0, 0_usize);
    for (index, (x, y)) in points.iter().enumerate() {
        if y.is_finite() {
            (sum, finite) = (sum + y, finite + 1);
        }
        let gone = index.checked_sub(count).and_then(|before| points.get(before));
        if let Some((_, gone)) = gone.filter(|(_, gone)| gone.is_finite()) {
            (sum, finite) = (sum - gone, finite - 1);
        }
        if finite > 0 {
            smoothed.push((*x, sum / finite as f64));
        }
    }
    smoothed
}

fn loss(runs: &[Drawn<'_>], is_many: bool, options: &Options) -> Panel {
    let (mut lines, mut rings) = (Vec::new(), Vec::new());
    for run in runs {
        lines.extend(with_means(run, steps_with_gaps(run), OF_STEPS, Style::Faint, options.smooth));
    }
    for run in runs {
        if options.smooth <= 1 {
            lines.push(run.line(OF_EPOCHS, Style::Full, run.of_epochs(|done| Some(done.train_loss))));
        }
        let of_validation = run.of_epochs(|done| validated(done, "val_loss"));
        let has_validation = !of_validation.is_empty();
        let style = if is_many { Style::Dashed } else { Style::Full };
        let colour = if is_many { run.colour } else { Colour::of_line(1) };
        lines.push(Line { colour, ..run.line(OF_VALIDATION, style, of_validation) });
        let column = if has_validation { "val_loss" } else { "train_loss" };
        rings.extend(run.ring(|done| done.value(column)));
    }
    lines.retain(|line| !line.points.is_empty());
    Panel { title: "loss".to_owned(), scale: options.scale, lines, rings }
}

/// The loss of each step; a batch that was left out is a gap behind the step before it.
fn steps_with_gaps(run: &Drawn<'_>) -> Vec<(f64, f64)> {
    let mut points = run.of_steps(|done| f64::from(f32::from_bits(done.loss_bits)));
    let mut before = 0;
    for event in &run.run.recorded.events {
        match event {
            Event::StepDone(done) => before = done.step,
            Event::StepRefused(_) => {
                let Some(x) = run.places.of_step(before) else { continue };
                let place = points.partition_point(|(known, _)| *known <= x);
                points.insert(place, (x, f64::NAN));
            }
            _ => {}
        }
    }
    points
}

fn validated(done: &EpochDone, column: &str) -> Option<f64> {
    done.validation.iter().find(|(name, _)| name == column).map(|(_, value)| *value)
}

/// The columns of validation besides the loss, in the order of their first appearance.
fn metric_names(runs: &[Drawn<'_>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let epochs = runs.iter().flat_map(|run| run.run.recorded.history.epochs.values());
    for (name, _) in epochs.flat_map(|epoch| &epoch.validation) {
        if name != "val_loss" && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn metric(name: &str, runs: &[Drawn<'_>], is_many: bool) -> Panel {
    let line = |run: &Drawn<'_>| {
        let colour = if is_many { run.colour } else { Colour::of_line(1) };
        Line { colour, ..run.line("", Style::Full, run.of_epochs(|done| validated(done, name))) }
    };
    let lines = runs.iter().map(line).filter(|line| !line.points.is_empty()).collect();
    let rings = runs.iter().filter_map(|run| run.ring(|done| validated(done, name))).collect();
    Panel { title: name.to_owned(), scale: Scale::Linear, lines, rings }
}

/// A line per attempt: each begins with nothing in memory.
fn memory(runs: &[Drawn<'_>]) -> Panel {
    let mut lines: Vec<Line> = Vec::new();
    for run in runs {
        let history = &run.run.recorded.history;
        for attempt in 1..=history.attempts {
            let samples = history.samples.iter().filter(|sample| sample.attempt == attempt);
            let known = samples.filter(|sample| sample.resident_bytes > 0);
            let point = |sample| Some((run.places.of_sample(sample)?, sample.resident_bytes as f64));
            let points: Vec<(f64, f64)> = known.filter_map(point).collect();
            if !points.is_empty() {
                lines.push(run.line("", Style::Full, points));
            }
        }
    }
    let values = || lines.iter().flat_map(|line| &line.points);
    let most = values().map(|(_, bytes)| *bytes).fold(0.0, f64::max);
    let (unit, bytes) = if most >= 2e9 { ("GB", 1e9) } else { ("MB", 1e6) };
    lines.iter_mut().flat_map(|line| &mut line.points).for_each(|(_, y)| *y /= bytes);
    Panel { title: format!("memory, {unit}"), scale: Scale::Linear, lines, rings: Vec::new() }
}
