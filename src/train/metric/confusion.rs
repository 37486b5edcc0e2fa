//! How often each class was taken for each other one, and what follows from that.

use crate::config::Average;
use std::fmt::Write as _;

/// Counts of (true class, predicted class).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// Row-major: a row per true class, a column per predicted class.
    counts: Vec<u64>,
    /// Positions with an answer that is no number, per true class.
    unanswered: Vec<u64>,
}

impl Confusion {
    /// Takes room for so many classes.
    pub(super) fn grow(&mut self, classes: usize) {
        if self.classes < classes {
            *self = Self { classes, counts: vec![0; classes * classes], unanswered: vec![0; classes] };
        }
    }

    /// Counts an answer; `None` is one that is no number, which is wrong without being any class.
    pub(super) fn add(&mut self, truth: usize, predicted: Option<usize>) {
        let slot = match predicted {
            Some(predicted) => self.counts.get_mut(truth * self.classes + predicted),
            None => self.unanswered.get_mut(truth),
        };
        if let Some(count) = slot {
            *count += 1;
        }
    }

    /// Number of classes; 0 before anything was counted.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `truth` was taken for `predicted`.
    #[must_use]
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts.get(truth * self.classes + predicted).copied().unwrap_or(0)
    }

    /// Right answers, answers that name the class, and positions of the class.
    fn of_class(&self, class: usize) -> (u64, u64, u64) {
        let right = self.count(class, class);
        let named = (0..self.classes).map(|truth| self.count(truth, class)).sum();
        let present: u64 = (0..self.classes).map(|predicted| self.count(class, predicted)).sum();
        (right, named, present + self.unanswered.get(class).copied().unwrap_or(0))
    }

    /// The mean over the classes that occur, as truth or as answer, of a score of (right, named, present); of all
    /// classes taken together for [`Average::Micro`]. Of a yes-or-no question it is the score of yes. NaN if nothing
    /// was counted.
    pub(super) fn score(&self, average: Average, score: impl Fn(u64, u64, u64) -> f64) -> f64 {
        let classes = (0..self.classes).map(|class| self.of_class(class));
        if average == Average::Micro {
            let sum = classes.fold((0, 0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1, sum.2 + of.2));
            return if sum.2 == 0 { f64::NAN } else { score(sum.0, sum.1, sum.2) };
        }
        let occurring: Vec<_> = classes.filter(|(_, named, present)| named + present > 0).collect();
        let sum: f64 = occurring.iter().map(|(right, named, present)| score(*right, *named, *present)).sum();
        sum / occurring.len() as f64
    }

    /// The score of yes, the second of two classes.
    pub(super) fn score_of_yes(&self, score: impl Fn(u64, u64, u64) -> f64) -> f64 {
        let (right, named, present) = self.of_class(1);
        let counted: u64 = self.counts.iter().chain(&self.unanswered).sum();
        if counted == 0 { f64::NAN } else { score(right, named, present) }
    }

    /// The matrix as CSV: a row per true class, a column per predicted one.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::from("true");
        for class in 0..self.classes {
            let _ = write!(text, ",predicted_{class}");
        }
        text.push('\n');
        for truth in 0..self.classes {
            let _ = write!(text, "{truth}");
            for predicted in 0..self.classes {
                let _ = write!(text, ",{}", self.count(truth, predicted));
            }
            text.push('\n');
        }
        text
    }

    /// The matrix for the eye, in columns.
    #[must_use]
    pub fn to_table(&self) -> String {
        let width = |number: u64| number.to_string().len();
        let most = self.counts.iter().copied().map(width).max().unwrap_or(1);
        let width = most.max(width(self.classes.saturating_sub(1) as u64));
        let mut text = format!("{:>width$} |", "");
        for class in 0..self.classes {
            let _ = write!(text, " {class:>width$}");
        }
        for truth in 0..self.classes {
            let _ = write!(text, "\n{truth:>width$} |");
            for predicted in 0..self.classes {
                let _ = write!(text, " {:>width$}", self.count(truth, predicted));
            }
        }
        text
    }
}

/// Right answers among those that name the class; 0 if none does.
pub(super) fn precision(right: u64, named: u64, _: u64) -> f64 {
    ratio(right, named)
}

/// Right answers among the positions of the class; 0 if there is none.
pub(super) fn recall(right: u64, _: u64, present: u64) -> f64 {
    ratio(right, present)
}

/// Harmonic mean of both.
pub(super) fn f1(right: u64, named: u64, present: u64) -> f64 {
    ratio(2 * right, named + present)
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
