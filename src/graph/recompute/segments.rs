//! Where to cut a forward pass so that what is kept fits.

use super::survey::Survey;
use std::ops::Range;

/// Into how many parts of equal size the forward pass is tried to be cut.
const PARTS: [usize; 12] = [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96];

/// The segments to be computed again so that activations take so many bytes at most: those that make the fewest bytes a
/// second time. If nothing is enough, those that leave the least. None where everything fits as it is.
pub(super) fn to_fit(survey: &Survey, budget_bytes: usize) -> Vec<Range<usize>> {
    let mut best = Vec::new();
    let mut best_kept = survey.kept_bytes(&[]);
    let mut best_cost = 0;
    if best_kept <= budget_bytes {
        return best;
    }
    let wanted: Vec<usize> = (0..survey.len()).map(|position| survey.wanted_bytes(position)).collect();
    for parts in PARTS {
        let mut segments = cut(survey, &wanted, parts);
        let mut kept = survey.kept_bytes(&segments);
        // The last ones need not be computed again if there is room for them.
        while let Some(last) = segments.pop() {
            let with_fewer = survey.kept_bytes(&segments);
            if with_fewer > budget_bytes {
                segments.push(last);
                break;
            }
            kept = with_fewer;
        }
        let cost = cost(&wanted, &segments);
        let (fits, best_fits) = (kept <= budget_bytes, best_kept <= budget_bytes);
        let is_better = match (fits, best_fits) {
            (true, true) => cost < best_cost,
            (fits, best_fits) if fits != best_fits => fits,
            _ => kept < best_kept,
        };
        if is_better {
            (best, best_kept, best_cost) = (segments, kept, cost);
        }
    }
    best
}

/// The bytes that are made a second time.
fn cost(wanted: &[usize], segments: &[Range<usize>]) -> usize {
    let again = segments.iter().filter_map(|segment| wanted.get(segment.clone())).flatten();
    again.fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

/// Cuts the forward pass into about so many segments, with equal bytes of what the backward pass wants, at places that few
/// bytes cross. The last segment, which the backward pass begins with, is left out: it is kept.
fn cut(survey: &Survey, wanted: &[usize], parts: usize) -> Vec<Range<usize>> {
    let places = survey.places();
    let target = wanted.iter().fold(0_usize, |sum, bytes| sum.saturating_add(*bytes)) / parts;
    let mut segments = Vec::new();
    let (mut start, mut since) = (0, 0_usize);
    // The best place so far behind half of a segment, with the bytes up to there.
    let mut found: Option<(usize, usize, usize)> = None;
    for (position, bytes) in wanted.iter().enumerate() {
        since = since.saturating_add(*bytes);
        let place = position + 1;
        let crossing =
            places.get(place).filter(|(bytes, may_cut)| *may_cut && *bytes > 0).map(|place| place.0);
        if let Some(crossing) = crossing.filter(|_| since >= target / 2)
            && found.is_none_or(|(least, ..)| crossing <= least)
        {
            found = Some((crossing, place, since));
        }
        if since >= target
            && let Some((_, place, up_to)) = found.take()
        {
            segments.push(start..place);
            start = place;
            since = since.saturating_sub(up_to);
        }
    }
    segments
}
