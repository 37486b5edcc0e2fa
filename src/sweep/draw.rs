//! From the space of a sweep to its trials: the same ones, in the same order, whenever they are drawn.

use super::definition::{Axis, Choice, Definition, MOST_TRIALS, Method, Problem, Range, Span, rounded};
use super::naming::NamePattern;
use crate::config::{self, ConfigError, Plan, Varied};
use crate::random::{Purpose, below, stream};
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// One run of a sweep.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Its number, from 1.
    pub number: u64,
    /// Its folder below that of the sweep.
    pub name: String,
    /// Axis and label, in the order of the axes.
    pub values: Vec<(String, String)>,
    /// The settings that it has of its own.
    pub settings: Vec<Varied>,
    /// All of its settings.
    pub plan: Plan,
}

/// The trials of a sweep, whose settings are all right. A trial that is not told otherwise computes with `threads`.
///
/// # Errors
/// With everything that is wrong with any trial, each mistake once.
pub fn draw(definition: &Definition, threads: usize) -> Result<Vec<Drawn>, Vec<Problem>> {
    let (mut trials, mut problems, mut said) = (Vec::new(), Vec::new(), BTreeSet::new());
    let pattern = NamePattern::parse(&definition.name, &definition.axes);
    // Names that can not be made keep nobody from being told of the settings, too.
    let pattern = pattern.map_err(|wrong| problems.extend(wrong)).ok();
    let combinations = match definition.method.draws() {
        None => grid(&definition.axes).unwrap_or_else(|wrong| {
            problems.extend(wrong);
            Vec::new()
        }),
        Some(trials) => (1..=trials).map(|trial| sample(definition, trial)).collect(),
    };
    for (number, choices) in (1..).zip(combinations) {
        let labels: Vec<&str> = choices.iter().map(|choice| choice.label.as_str()).collect();
        let values = definition.axes.iter().map(|axis| axis.name.clone());
        let values = values.zip(labels.iter().map(|label| (*label).to_owned())).collect();
        let settings: Vec<Varied> = choices.iter().flat_map(|choice| choice.settings.clone()).collect();
        let loaded = config::load_varied(definition.below(), &settings, &definition.path, threads);
        let mut complain = |words: String| {
            if said.insert(words.clone()) {
                problems.push(Problem::nowhere(words));
            }
        };
        let name = pattern.as_ref().map(|pattern| pattern.name(number, &labels));
        let name = name.and_then(|name| name.map_err(&mut complain).ok());
        match loaded {
            Ok(loaded) => {
                trials.extend(name.map(|name| Drawn { number, name, values, settings, plan: loaded.plan }))
            }
            Err(ConfigError::Invalid { problems }) => {
                problems.iter().for_each(|problem| complain(problem.to_string()));
            }
            Err(other) => complain(other.to_string()),
        }
    }
    problems.extend(same_names(&trials));
    problems.extend(unmeasured(definition, &trials));
    problems.extend(not_for_rungs(definition, &trials));
    if problems.is_empty() { Ok(trials) } else { Err(problems) }
}

/// Every combination; the last axis varies fastest.
fn grid(axes: &[Axis]) -> Result<Vec<Vec<Choice>>, Vec<Problem>> {
    let mut combinations: Vec<Vec<Choice>> = vec![Vec::new()];
    let mut problems = Vec::new();
    for axis in axes {
        let Some(values) = axis.values() else {
            let words = format!(
                "`{}` is a range without step, of which there is no grid; add step, write a list, or take method = \
                 \"random\"",
                axis.name
            );
            problems.push(Problem::at(axis.line, words));
            continue;
        };
        if combinations.len().saturating_mul(values.len()) as u64 > MOST_TRIALS {
            let words = format!(
                "the grid has more than {MOST_TRIALS} trials; take fewer values, or method = \"random\""
            );
            return Err(vec![Problem::at(axis.line, words)]);
        }
        let extended = combinations.iter().flat_map(|combination| {
            values.iter().map(|value| {
                let mut longer = combination.clone();
                longer.push(value.clone());
                longer
            })
        });
        combinations = extended.collect();
    }
    if problems.is_empty() { Ok(combinations) } else { Err(problems) }
}

/// The draw with this number. It depends on no other draw, so more draws leave those there are as they are.
fn sample(definition: &Definition, trial: u64) -> Vec<Choice> {
    let axes = (0..).zip(&definition.axes);
    axes.filter_map(|(position, axis)| {
        let mut rng = stream(definition.seed, Purpose::Sweep, trial, position);
        match &axis.span {
            Span::Choices(choices) => {
                let index = usize::try_from(below(&mut rng, choices.len() as u64)).unwrap_or_default();
                choices.get(index).cloned()
            }
            Span::Range(range) => Some(axis.choice_of(range, number(range, &mut rng))),
        }
    })
    .collect()
}

fn number(range: &Range, rng: &mut impl Rng) -> f64 {
    // 53 random bits, so every step of the unit interval that a double can tell apart.
    let unit = (rng.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0);
    let Range { min, max, .. } = *range;
    if range.is_log {
        let drawn = rounded((min.ln() + unit * (max.ln() - min.ln())).exp());
        return if range.is_whole { drawn.round().clamp(min, max) } else { drawn.clamp(min, max) };
    }
    match range.step.or(range.is_whole.then_some(1.0)) {
        Some(step) => {
            let steps = ((max - min) / step + 1e-9).floor() as u64;
            range.at_step(((unit * (steps as f64 + 1.0)) as u64).min(steps), step)
        }
        None => rounded(min + unit * (max - min)).clamp(min, max),
    }
}

fn same_names(trials: &[Drawn]) -> Vec<Problem> {
    let mut first: BTreeMap<&str, u64> = BTreeMap::new();
    for trial in trials {
        if let Some(other) = first.insert(&trial.name, trial.number) {
            return vec![Problem::nowhere(format!(
                "trials {other} and {} have the same name \"{}\"; have `sweep.name` name all that varies, or {{trial}}",
                trial.number, trial.name
            ))];
        }
    }
    Vec::new()
}

/// The metric must be one that the trials measure.
fn unmeasured(definition: &Definition, trials: &[Drawn]) -> Option<Problem> {
    let metric = definition.metric.as_str();
    let trial = trials.iter().find(|trial| {
        let plan = &trial.plan;
        let names = plan.metrics.iter().map(|metric| format!("val_{metric}")).chain(["val_loss".to_owned()]);
        !(metric == "train_loss"
            || plan.data.has_validation() && names.into_iter().any(|name| name == metric))
    })?;
    let remedy = if trial.plan.data.has_validation() {
        "add it to `metrics`, or name another in `sweep.metric`"
    } else {
        "name validation data, or take `metric = \"train_loss\"`"
    };
    Some(Problem::nowhere(format!("trial {} ({}) measures no {metric}; {remedy}", trial.number, trial.name)))
}

/// What successive halving needs: rungs below the whole length, which is the same for all.
fn not_for_rungs(definition: &Definition, trials: &[Drawn]) -> Option<Problem> {
    let Method::Halving { min_epochs, .. } = definition.method else { return None };
    let epochs: BTreeSet<u64> = trials.iter().map(|trial| trial.plan.train.epochs).collect();
    match (epochs.first(), epochs.last()) {
        (Some(least), Some(most)) if least != most => Some(Problem::nowhere(format!(
            "`train.epochs` varies from {least} to {most}, but method = \"halving\" decides how long a trial is; give it one \
             value, which is that of the last rung"
        ))),
        (Some(epochs), _) if *epochs <= min_epochs => Some(Problem::nowhere(format!(
            "`train.epochs` is {epochs} and `sweep.min_epochs` {min_epochs}: there is one rung, and nothing to halve; raise \
             `train.epochs`, or take another method"
        ))),
        _ => None,
    }
}
