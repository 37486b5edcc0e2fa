//! Whether memory is about to run out: a decision from what was seen, made without looking at anything.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Pressure, Reason, Scope, Usage};

/// Used part from which there is pressure in any case.
const THRESHOLD: f64 = 0.95;

/// Used part below which no growth counts: what grows fast while a process starts.
const GROWTH_FROM: f64 = 0.5;

/// Used part from which stalls count.
const STALLED_FROM: f64 = 0.8;

/// Stalls of this part of the last 10 s, in percent, are pressure.
const STALLED_PERCENT: f64 = 20.0;

/// How far below its threshold a value has to fall before it can be pressure again.
const HYSTERESIS: f64 = 0.9;

/// How long everything has to be calm before there can be pressure again.
const CALM: Duration = Duration::from_secs(5);

/// Growth is measured over so long, and has to be there in both halves of it: a jump is no growth.
const WINDOW: Duration = Duration::from_millis(250);

/// Growth is no growth before it was seen for so long.
const SUSTAINED: Duration = Duration::from_millis(80);

/// What was seen at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Time since the watch began.
    pub(super) at: Duration,
    /// What is used.
    pub(super) usage: Usage,
    /// Stalls in the last 10 s, in percent.
    pub(super) stalled_percent: f64,
    /// Processes killed for memory, ever.
    pub(super) oom_kills: u64,
    /// How long a save takes, and what must end before it can begin.
    pub(super) needed: Duration,
}

/// Judges what is seen of one scope. An episode of pressure is told once.
#[derive(Debug)]
pub(super) struct Judge {
    scope: Scope,
    /// Time and used bytes, over the window.
    seen: VecDeque<(Duration, u64)>,
    oom_kills: Option<u64>,
    episode: Episode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Episode {
    None,
    /// Told; calm since then, if it is.
    Told {
        calm_since: Option<Duration>,
    },
}

/// More samples than fit into the window at the shortest interval.
const MOST_SAMPLES: usize = 128;

impl Judge {
    pub(super) fn new(scope: Scope) -> Judge {
        let seen = VecDeque::with_capacity(MOST_SAMPLES);
        Judge { scope, seen, oom_kills: None, episode: Episode::None }
    }

    /// Takes a sample, and says whether an episode of pressure begins with it. Allocates nothing.
    pub(super) fn see(&mut self, sample: &Sample) -> Option<Pressure> {
        let growth_bytes_per_s = self.growth(sample);
        let headroom = sample.usage.headroom_bytes() as f64;
        let time_left = (growth_bytes_per_s > 0.0)
            .then(|| Duration::try_from_secs_f64(headroom / growth_bytes_per_s).unwrap_or(Duration::MAX));
        let killed = self.oom_kills.replace(sample.oom_kills).is_some_and(|before| before < sample.oom_kills);
        match self.episode {
            Episode::None => {
                let reason = if killed { Some(Reason::Killed) } else { reason(sample, time_left, 1.0) }?;
                self.episode = Episode::Told { calm_since: None };
                let (scope, usage) = (self.scope, sample.usage);
                Some(Pressure { scope, usage, growth_bytes_per_s, time_left, reason })
            }
            Episode::Told { calm_since } => {
                let is_calm = reason(sample, time_left, HYSTERESIS).is_none();
                let since = is_calm.then(|| calm_since.unwrap_or(sample.at));
                let is_over = since.is_some_and(|since| sample.at.saturating_sub(since) >= CALM);
                self.episode = if is_over { Episode::None } else { Episode::Told { calm_since: since } };
                None
            }
        }
    }

    /// Bytes per second over the window; 0 where it is not sustained.
    fn growth(&mut self, sample: &Sample) -> f64 {
        let from = sample.at.saturating_sub(WINDOW);
        while self.seen.front().is_some_and(|(at, _)| *at < from) || self.seen.len() >= MOST_SAMPLES {
            self.seen.pop_front();
        }
        self.seen.push_back((sample.at, sample.usage.used_bytes));
        let last = (sample.at, sample.usage.used_bytes);
        let Some(first) = self.seen.front().copied() else { return 0.0 };
        let span = sample.at.saturating_sub(first.0);
        if span < SUSTAINED {
            return 0.0;
        }
        let half = first.0 + span / 2;
        let middle = self.seen.iter().copied().find(|(at, _)| *at >= half).unwrap_or(last);
        rate(first, middle).min(rate(middle, last)).max(0.0)
    }
}

/// Bytes per second from one moment to another; 0 where no time lies between them.
fn rate(from: (Duration, u64), to: (Duration, u64)) -> f64 {
    let span_s = to.0.saturating_sub(from.0).as_secs_f64();
    if span_s > 0.0 { (to.1 as f64 - from.1 as f64) / span_s } else { 0.0 }
}

/// Why this is pressure; `easing` lowers every threshold.
fn reason(sample: &Sample, time_left: Option<Duration>, easing: f64) -> Option<Reason> {
    let share = sample.usage.share();
    if share >= THRESHOLD * easing {
        return Some(Reason::Threshold);
    }
    let needed = sample.needed.div_f64(easing);
    if share >= GROWTH_FROM * easing && time_left.is_some_and(|left| left < needed) {
        return Some(Reason::Growth);
    }
    (share >= STALLED_FROM * easing && sample.stalled_percent >= STALLED_PERCENT * easing)
        .then_some(Reason::Stalled)
}

#[cfg(test)]
mod tests {
    use super::{CALM, Judge, Sample};
    use crate::memory::{Reason, Scope, Usage};
    use std::time::Duration;

    const MB: u64 = 1_000_000;

    fn sample(ms: u64, used_mb: u64) -> Sample {
        Sample {
            at: Duration::from_millis(ms),
            usage: Usage { used_bytes: used_mb * MB, limit_bytes: 1000 * MB },
            stalled_percent: 0.0,
            oom_kills: 0,
            needed: Duration::from_millis(500),
        }
    }

    /// The first moment of pressure in what is seen every 20 ms, and why.
    fn first(samples: impl Iterator<Item = Sample>) -> Option<(u64, Reason)> {
        let mut judge = Judge::new(Scope::ControlGroup);
        let mut samples = samples;
        samples.find_map(|sample| Some((sample.at.as_millis() as u64, judge.see(&sample)?.reason)))
    }

    #[test]
    fn a_fast_leak_is_told_while_there_is_time_for_a_save() {
        // 400 MB/s from 100 MB: 800 MB are used after 1750 ms, when 500 ms are left.
        let seen = first((0..200).map(|i| sample(i * 20, 100 + i * 8)));
        let (ms, reason) = seen.unwrap();
        assert!((1700..1800).contains(&ms) && reason == Reason::Growth, "{ms} {reason:?}");
    }

    #[test]
    fn a_slow_leak_is_told_at_the_threshold() {
        let (ms, reason) = first((0..2000).map(|i| sample(i * 20, 900 + i / 10))).unwrap();
        assert_eq!((ms, reason), (500 * 20, Reason::Threshold));
    }

    #[test]
    fn growth_while_little_is_used_and_a_single_jump_are_no_pressure() {
        assert_eq!(first((0..20).map(|i| sample(i * 20, i * 20))), None);
        let jump = (0..100).map(|i| sample(i * 20, if i < 3 { 100 } else { 600 }));
        assert_eq!(first(jump), None);
    }

    #[test]
    fn stalls_and_kills_are_pressure() {
        let stalled = |used_mb, percent| Sample { stalled_percent: percent, ..sample(0, used_mb) };
        assert_eq!(first([stalled(850, 30.0)].into_iter()), Some((0, Reason::Stalled)));
        assert_eq!(first([stalled(850, 3.0), stalled(300, 90.0)].into_iter()), None);
        let killed = [sample(0, 100), Sample { oom_kills: 1, ..sample(20, 100) }];
        assert_eq!(first(killed.into_iter()), Some((20, Reason::Killed)));
        let before_the_watch = [Sample { oom_kills: 9, ..sample(0, 100) }; 2];
        assert_eq!(first(before_the_watch.into_iter()), None);
    }

    #[test]
    fn an_episode_is_told_once_until_all_was_calm_for_a_while() {
        let mut judge = Judge::new(Scope::Machine);
        let calm_ms = CALM.as_millis() as u64;
        let told: Vec<u64> = [(0, 960), (20, 970), (40, 940), (60, 960), (80, 700), (100, 960)]
            .into_iter()
            .chain([(200, 500), (200 + calm_ms, 500), (220 + calm_ms, 960)])
            .filter_map(|(ms, used_mb)| judge.see(&sample(ms, used_mb)).map(|_| ms))
            .collect();
        assert_eq!(told, [0, 220 + calm_ms]);
    }
}
