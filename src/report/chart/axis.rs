//! The range of an axis, its ticks, and what is written at them.

use super::figure::Scale;

/// One axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    scale: Scale,
    min: f64,
    max: f64,
    /// Places with a label, ascending.
    pub(super) ticks: Vec<Tick>,
}

/// A place of an axis with a label.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// Which ticks an axis has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ticks {
    /// Wherever they are round.
    Round,
    /// At whole numbers.
    Whole,
}

/// Part of the range of y that is added at both ends, so that no line runs along the frame.
const MARGIN: f64 = 0.05;

/// Below this, dividing loses digits.
const LEAST_LENGTH: f64 = 1e-300;

/// Range of the finite values; `None` without any.
pub(super) fn range(values: impl Iterator<Item = f64>, scale: Scale) -> Option<(f64, f64)> {
    let has_place = |value: &f64| value.is_finite() && (scale == Scale::Linear || *value > 0.0);
    values.filter(has_place).fold(None, |range, value| {
        let (min, max) = range.unwrap_or((value, value));
        Some((min.min(value), max.max(value)))
    })
}

impl Axis {
    /// An axis over exactly this range, with up to `most` ticks. A range without length gets some.
    pub(super) fn over((min, max): (f64, f64), ticks: Ticks, most: usize) -> Self {
        let (min, max) = if has_length(min, max) { (min, max) } else { widened(min) };
        let ticks = linear_ticks(min, max, ticks, most);
        Self { scale: Scale::Linear, min, max, ticks }
    }

    /// An axis over this range and a margin.
    pub(super) fn around((min, max): (f64, f64), scale: Scale, most: usize) -> Self {
        match scale {
            Scale::Linear => {
                let (low, high) = if has_length(min, max) { (min, max) } else { widened(min) };
                // Halves, for the difference of two finite numbers may not be one.
                let margin = (high / 2.0 - low / 2.0) * 2.0 * MARGIN;
                let below = low - margin;
                // What is never negative gets no negative labels.
                let low = if min >= 0.0 && below < 0.0 { 0.0 } else { below.max(f64::MIN) };
                let high = (high + margin).min(f64::MAX);
                Self { scale, min: low, max: high, ticks: linear_ticks(low, high, Ticks::Round, most) }
            }
            Scale::Log => {
                let (low, high) = (min.log10(), max.log10());
                let margin = if high > low { (high - low) * MARGIN } else { 0.5 };
                let (low, high) = (low - margin, high + margin);
                Self { scale, min: low, max: high, ticks: log_ticks(low, high, most) }
            }
        }
    }

    /// Where a value is between the ends, from 0 to 1; `None` for one that has no place.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => return None,
        };
        // Halves, as above.
        let place = (value / 2.0 - self.min / 2.0) / (self.max / 2.0 - self.min / 2.0);
        place.is_finite().then_some(place)
    }
}

/// Whether two values are far enough apart to divide by their distance.
fn has_length(min: f64, max: f64) -> bool {
    max / 2.0 - min / 2.0 > LEAST_LENGTH
}

/// A range around one value.
fn widened(value: f64) -> (f64, f64) {
    let by = if value.abs() <= LEAST_LENGTH * 100.0 { 1.0 } else { value.abs() * 0.1 };
    ((value - by).max(f64::MIN), (value + by).min(f64::MAX))
}

/// Ticks at multiples of 1, 2 or 5 times a power of ten, at most so many and at least one where there is a place for it.
fn linear_ticks(min: f64, max: f64, kind: Ticks, most: usize) -> Vec<Tick> {
    let rough = (max / 2.0 - min / 2.0) / most.max(1) as f64 * 2.0;
    let power = rough.log10().floor();
    let steps = [1.0, 2.0, 5.0, 10.0, 20.0].map(|factor| factor * 10_f64.powf(power));
    let fits = |step: &f64| *step >= rough * (1.0 - 1e-9) && (kind == Ticks::Round || *step >= 1.0);
    let ends = |step: f64| ((min / step - 1e-9).ceil(), (max / step + 1e-9).floor());
    let fitting = steps.into_iter().position(|step| fits(&step));
    let smaller = fitting.and_then(|index| steps.get(index.checked_sub(1)?)).copied();
    let step = fitting.and_then(|index| steps.get(index)).copied().unwrap_or(1.0);
    let count = |step: f64| {
        let (first, last) = ends(step);
        last - first + 1.0
    };
    // One place alone tells no distances, and between none a line could be anywhere.
    let room = if count(step) < 1.0 { 3.0 } else { most as f64 + 1.0 };
    let is_better = |smaller: &f64| (kind == Ticks::Round || *smaller >= 1.0) && count(*smaller) <= room;
    let smaller = smaller.filter(|_| count(step) < 2.0).filter(is_better);
    let (step, (first, last)) = smaller.map_or((step, ends(step)), |step| (step, ends(step)));
    if !(step.is_finite() && first.is_finite() && last - first <= 2.0 * most as f64 + 2.0) {
        return Vec::new();
    }
    let largest = min.abs().max(max.abs());
    let count = (last - first).max(-1.0) as i64 + 1;
    let at = (0..count).map(|index| (first + index as f64) * step);
    at.map(|at| Tick { at, label: label(at, step, largest) }).collect()
}

/// Ticks at powers of ten, and between them where there are few; `low` and `high` are logarithms.
fn log_ticks(low: f64, high: f64, most: usize) -> Vec<Tick> {
    let decades = (high - low).max(0.0);
    let every = (decades / most.max(1) as f64).ceil().max(1.0);
    let factors: &[f64] = if decades < 1.0 {
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    } else if decades * 3.0 <= most as f64 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let (first, last) = ((low / every).floor() as i64 - 1, (high / every).ceil() as i64 + 1);
    let mut ticks = Vec::new();
    for power in (first..=last).map(|index| index as f64 * every) {
        for factor in factors {
            let at = factor * 10_f64.powf(power);
            if (low..=high).contains(&at.log10()) {
                // One way of writing for all of them.
                let is_wide = low < -3.0 || high > 5.0;
                let largest = if is_wide && power.abs() >= 3.0 { f64::INFINITY } else { at.min(9e4) };
                ticks.push(Tick { at, label: label(at, at / 10.0, largest) });
            }
        }
    }
    while ticks.len() > most.max(2) {
        let mut index = 0;
        ticks.retain(|_| {
            index += 1;
            index % 2 == 1
        });
    }
    ticks
}

/// A value of an axis whose ticks are `step` apart and at most as large as `largest`.
fn label(at: f64, step: f64, largest: f64) -> String {
    if at == 0.0 || at.abs() < step / 1e6 {
        return "0".to_owned();
    }
    let digits_behind = |of: f64| (-of.log10().floor() - 0.0).max(0.0) as usize;
    match largest {
        1e5..1e15 if step >= 100.0 => {
            let (unit, sign) = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]
                .into_iter()
                .find(|(unit, _)| largest >= *unit)
                .unwrap_or((1.0, ""));
            trimmed(&format!("{:.*}", digits_behind(step / unit).min(6), at / unit)) + sign
        }
        1e-3..1e6 => trimmed(&format!("{at:.*}", digits_behind(step).min(9))),
        _ => {
            let digits = (at.abs().log10().floor() - step.log10().floor()).clamp(0.0, 6.0) as usize;
            let text = format!("{at:.digits$e}");
            match text.split_once('e') {
                Some((mantissa, exponent)) => format!("{}e{exponent}", trimmed(mantissa)),
                None => text,
            }
        }
    }
}

/// Without zeros at the end of a fraction.
fn trimmed(text: &str) -> String {
    if !text.contains('.') {
        return text.to_owned();
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Axis, Ticks, range};
    use crate::report::chart::figure::Scale;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_no_more_than_asked_for() {
        assert_eq!(
            labels(&Axis::over((0.0, 690.0), Ticks::Whole, 8)),
            ["0", "100", "200", "300", "400", "500", "600"]
        );
        assert_eq!(labels(&Axis::over((0.0, 3.0), Ticks::Whole, 8)), ["0", "1", "2", "3"]);
        assert_eq!(
            labels(&Axis::over((0.0, 2.5e6), Ticks::Whole, 6)),
            ["0", "0.5M", "1M", "1.5M", "2M", "2.5M"]
        );
        assert_eq!(labels(&Axis::around((0.81, 0.99), Scale::Linear, 4)), ["0.85", "0.9", "0.95"]);
        assert_eq!(labels(&Axis::around((1e-5, 9e-5), Scale::Linear, 5)), ["2e-5", "4e-5", "6e-5", "8e-5"]);
        assert_eq!(labels(&Axis::around((1.0, 1000.0), Scale::Log, 5)), ["1", "10", "100", "1000"]);
        assert_eq!(labels(&Axis::around((0.1, 1e7), Scale::Log, 5)), ["1", "100", "1e4", "1e6"]);
        assert_eq!(labels(&Axis::around((1e-6, 1e-4), Scale::Log, 5)), ["1e-6", "1e-5", "1e-4"]);
    }

    #[test]
    fn a_low_panel_has_two_ticks_at_least_between_unround_ends() {
        assert_eq!(labels(&Axis::around((0.56, 0.95), Scale::Linear, 2)), ["0.6", "0.8"]);
        assert_eq!(labels(&Axis::over((0.56, 0.99), Ticks::Round, 2)), ["0.6", "0.8"]);
        assert_eq!(labels(&Axis::over((0.0, 1.0), Ticks::Whole, 2)), ["0", "1"]);
    }

    #[test]
    fn every_range_has_an_axis_with_few_ticks_and_all_its_values_on_it() {
        let values = [-1.7e308, -3.0, -1e-300, 0.0, 5e-324, 1e-9, 0.1, 1.0, 65_536.0, 1e17, 1.7e308];
        for min in values {
            for max in values.into_iter().filter(|max| *max >= min) {
                for scale in [Scale::Linear, Scale::Log] {
                    let Some((low, high)) = range([min, max].into_iter(), scale) else { continue };
                    let axis = Axis::around((low, high), scale, 5);
                    assert!(axis.ticks.len() <= 12, "{min} {max} {scale:?}: {:?}", axis.ticks);
                    for value in [low, high] {
                        let place = axis.place(value).unwrap_or(f64::NAN);
                        assert!(
                            (-1e-6..=1.000_001).contains(&place),
                            "{value} of {min} {max} {scale:?}: {place}"
                        );
                    }
                    assert!(axis.ticks.iter().all(|tick| tick.label.len() < 14), "{:?}", axis.ticks);
                }
            }
        }
    }

    #[test]
    fn what_is_never_negative_has_no_negative_tick() {
        let axis = Axis::around((0.01, 2.3), Scale::Linear, 5);
        assert_eq!(labels(&axis)[0], "0");
        assert!(Axis::around((-1.5, 2.3), Scale::Linear, 5).ticks[0].at < 0.0);
    }

    #[test]
    fn without_a_value_that_has_a_place_there_is_no_range() {
        assert_eq!(range([f64::NAN, f64::INFINITY].into_iter(), Scale::Linear), None);
        assert_eq!(range([0.0, -1.0].into_iter(), Scale::Log), None);
    }
}
