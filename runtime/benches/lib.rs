//! Pairs of times, taken in turn, and what their ratios say.

use std::time::Duration;

/// The times of two ways to do a thing, each pair taken one right behind the other.
#[derive(Debug, Default)]
pub struct Pairs(Vec<(Duration, Duration)>);

/// The median of something, and the values that half of it lies between.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// A quarter is below this.
    pub low: f64,
    /// Half is below this.
    pub median: f64,
    /// A quarter is above this.
    pub high: f64,
}

impl Pairs {
    /// Times both, in the other order each time, and gives the first one's time.
    pub fn take(&mut self, ours: impl FnOnce() -> Duration, limit: impl FnOnce() -> Duration) -> Duration {
        let pair = if self.0.len().is_multiple_of(2) {
            let ours = ours();
            (ours, limit())
        } else {
            let limit = limit();
            (ours(), limit)
        };
        self.0.push(pair);
        pair.0
    }

    /// How many pairs there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The ratio of the first to the second, pair by pair.
    pub fn ratio(&self) -> Spread {
        spread(self.0.iter().map(|(ours, limit)| ours.as_secs_f64() / limit.as_secs_f64()))
    }

    /// The first one's seconds.
    pub fn ours_s(&self) -> Spread {
        spread(self.0.iter().map(|(ours, _)| ours.as_secs_f64()))
    }

    /// The second one's seconds.
    pub fn limit_s(&self) -> Spread {
        spread(self.0.iter().map(|(_, limit)| limit.as_secs_f64()))
    }
}

fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let at = |quarter: usize| sorted.get(sorted.len() * quarter / 4).copied().unwrap_or(f64::NAN);
    Spread { low: at(1), median: at(2), high: at(3) }
}
