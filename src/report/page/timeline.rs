//! When each attempt was at work, and how it ended.

use super::{section, table, utc};
use crate::report::chart::svg::escaped;
use crate::report::clock::{Clock, Span};
use crate::report::incidents::{AttemptEnd, attempt_ends};
use crate::report::progress::duration;
use crate::report::recorded::Recorded;
use std::fmt::Write as _;

/// Width of the picture; the page scales it.
const WIDTH: f64 = 1000.0;
const BAR_HEIGHT: f64 = 16.0;
const ROW_HEIGHT: f64 = 22.0;
/// More attempts than these are told in the table alone.
const MOST_BARS: usize = 60;
/// The shortest bar that is seen.
const LEAST_WIDTH: f64 = 2.0;

pub(super) fn timeline(out: &mut String, recorded: &Recorded) {
    let history = &recorded.history;
    let spans = Clock::of(history).spans(history);
    let ends = attempt_ends(&recorded.events);
    let end_of = |attempt: u64| ends.iter().find(|end| end.attempt == attempt);
    if spans.is_empty() {
        let body = "<p class=\"muted\">the journal has no readings of the clock</p>\n";
        return section(out, "Timeline of attempts", body);
    }
    let mut body = String::new();
    if spans.len() <= MOST_BARS {
        bars(&mut body, &spans, &ends);
    }
    let mut before: Option<f64> = None;
    let rows: Vec<(bool, Vec<String>)> = spans
        .iter()
        .map(|span| {
            let pause =
                before.replace(span.ended_s).map_or(String::new(), |ended| duration(span.began_s - ended));
            let end = end_of(span.attempt)
                .map_or("has not ended, as far as the journal tells".to_owned(), |end| {
                    format!("{} (step {})", end.words, end.step)
                });
            let steps = format!("{} to {}", span.from_step, span.to_step);
            let worked = duration(span.ended_s - span.began_s);
            (false, vec![span.attempt.to_string(), utc(span.began_s), pause, worked, steps, end])
        })
        .collect();
    body.push_str(&table("", &["attempt", "began", "after a pause of", "worked", "steps", "end"], &rows));
    section(out, "Timeline of attempts", &body);
}

fn bars(body: &mut String, spans: &[Span], ends: &[AttemptEnd]) {
    let began = spans.iter().map(|span| span.began_s).fold(f64::INFINITY, f64::min);
    let ended = spans.iter().map(|span| span.ended_s).fold(f64::NEG_INFINITY, f64::max);
    let scale = WIDTH / (ended - began).max(1e-3);
    let height = ROW_HEIGHT * spans.len() as f64;
    _ = writeln!(
        body,
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {height}\" width=\"100%\" role=\"img\">\n<title>when each attempt was at \
         work</title>"
    );
    for (row, span) in spans.iter().enumerate() {
        let (x, y) = ((span.began_s - began) * scale, row as f64 * ROW_HEIGHT);
        let width = ((span.ended_s - span.began_s) * scale).max(LEAST_WIDTH);
        let x = x.min(WIDTH - width);
        let end = ends.iter().find(|end| end.attempt == span.attempt);
        let colour = match end {
            Some(end) if end.is_complete => "#009e73",
            Some(_) => "#d55e00",
            None => "#0072b2",
        };
        let words = end.map_or(String::new(), |end| end.words.clone());
        let label = end.map_or(String::new(), |end| end.label.clone());
        // On the side where there is room.
        let is_left = x + width > WIDTH * 0.8;
        let (at, anchor) = if is_left { (x - 6.0, "end") } else { (x + width + 6.0, "start") };
        let baseline = y + BAR_HEIGHT * 0.75;
        _ = writeln!(
            body,
            "<line x1=\"0\" y1=\"{0:.1}\" x2=\"{WIDTH}\" y2=\"{0:.1}\" stroke=\"#eee\"/>\n\
             <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\" fill=\"{colour}\">\
             <title>attempt {1}: {2}</title></rect>\n\
             <text x=\"{at:.1}\" y=\"{baseline:.1}\" font-size=\"12\" text-anchor=\"{anchor}\" fill=\"#222\">{1} {3}</text>",
            y + ROW_HEIGHT - 3.0,
            span.attempt,
            escaped(&words),
            escaped(&label)
        );
    }
    body.push_str("</svg>\n");
}
