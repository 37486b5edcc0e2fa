//! The area under the receiver operating characteristic.

/// Scores of the positions that counted, to be ranked at the end; every score is kept, 4 bytes for each class.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Scores {
    /// For each question (a class against the rest, or yes against no), the scores.
    questions: Vec<Vec<f32>>,
    /// The class of each position.
    truths: Vec<u32>,
}

impl Scores {
    /// Adds a position with a score for each class; one score alone is that of yes.
    pub(super) fn add(&mut self, truth: usize, scores: impl Iterator<Item = f32>) {
        for (question, score) in scores.enumerate() {
            if self.questions.len() <= question {
                self.questions.push(Vec::new());
            }
            if let Some(known) = self.questions.get_mut(question) {
                known.push(score);
            }
        }
        self.truths.push(u32::try_from(truth).unwrap_or(u32::MAX));
    }

    /// The mean over the classes of the area for that class against the rest, of those that have positions on both
    /// sides; of one question its area. NaN if there is none, or if a score is.
    pub(super) fn value(&self) -> f64 {
        let one = self.questions.len() == 1;
        let areas = self.questions.iter().enumerate().filter_map(|(class, scores)| {
            let positive = if one { 1 } else { u32::try_from(class).unwrap_or(u32::MAX) };
            area(scores, self.truths.iter().map(|truth| *truth == positive))
        });
        let areas: Vec<f64> = areas.collect();
        areas.iter().sum::<f64>() / areas.len() as f64
    }
}

/// The part of the pairs of a positive and a negative in which the positive has the higher score, ties counting half
/// (Mann and Whitney, 1947); `None` if one side is empty.
fn area(scores: &[f32], is_positive: impl Iterator<Item = bool>) -> Option<f64> {
    let mut ranked: Vec<(f32, bool)> = scores.iter().copied().zip(is_positive).collect();
    let positives = ranked.iter().filter(|(_, positive)| *positive).count() as f64;
    let negatives = ranked.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    if scores.iter().any(|score| score.is_nan()) {
        return Some(f64::NAN);
    }
    ranked.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let (mut pairs, mut negatives_below) = (0.0, 0.0);
    for equal in ranked.chunk_by(|(a, _), (b, _)| a == b) {
        let positive = equal.iter().filter(|(_, positive)| *positive).count() as f64;
        let negative = equal.len() as f64 - positive;
        pairs += positive * (negatives_below + negative / 2.0);
        negatives_below += negative;
    }
    Some(pairs / (positives * negatives))
}
