//! Which line and which mark is what.

use super::figure::{Colour, Figure, Line, Mark, MarkKind, Style};
use super::font;
use super::layout::{Measures, ROW};
use super::panel::{arrow, cross, stroke_of, triangle};
use super::scene::{Anchor, Scene, Shape, Stroke};

/// Between two entries.
const BETWEEN: f64 = 14.0;
/// The piece of a line in front of its name.
const SAMPLE: f64 = 20.0;

/// The names of the lines of a panel, at the right end of its heading. Where colours tell runs apart, the entries tell
/// styles apart.
pub(super) fn line_entries(
    scene: &mut Scene,
    lines: &[Line],
    has_runs: bool,
    (from, to): (f64, f64),
    baseline: f64,
    measures: &Measures,
) {
    let mut entries: Vec<(&str, Style, Colour)> = Vec::new();
    for line in lines.iter().filter(|line| !line.name.is_empty()) {
        let colour = if has_runs { Colour::GREY } else { line.colour };
        let entry = (line.name.as_str(), line.style, colour);
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    let k = measures.k;
    let beside = (SAMPLE + 5.0 + BETWEEN) * k;
    let most = ((to - from) / entries.len().max(1) as f64 - beside).max(0.0);
    let mut right = to;
    for (name, style, colour) in entries.into_iter().rev() {
        let text = font::fitted(name, measures.text, most.max(24.0 * k));
        let left = right - font::width(&text, measures.text) - (SAMPLE + 5.0) * k;
        if left < from {
            break;
        }
        let y = baseline - measures.text * 0.35;
        scene.line("sample", (left, y), (left + SAMPLE * k, y), stroke_of(style, colour, k));
        write(scene, text, (left + (SAMPLE + 5.0) * k, baseline), measures);
        right = left - BETWEEN * k;
    }
}

/// Rows that the names of runs take.
pub(super) fn runs_rows_needed(runs: &[(String, Colour)], width: f64, measures: &Measures) -> usize {
    places(runs, width, measures).last().map_or(0, |(_, _, row)| row + 1)
}

/// The text, left end and row of each run.
fn places(runs: &[(String, Colour)], width: f64, measures: &Measures) -> Vec<(String, f64, usize)> {
    let k = measures.k;
    let (mut x, mut row) = (0.0, 0);
    let mut placed = Vec::new();
    for (name, _) in runs {
        let text = font::fitted(name, measures.text, width - (SAMPLE + 6.0) * k);
        let needed = font::width(&text, measures.text) + (SAMPLE + 6.0) * k;
        if x > 0.0 && x + needed > width {
            (x, row) = (0.0, row + 1);
        }
        placed.push((text, x, row));
        x += needed + BETWEEN * k;
    }
    placed
}

/// The names of the runs, each with its colour, from this corner on.
pub(super) fn run_rows(
    scene: &mut Scene,
    runs: &[(String, Colour)],
    (left, top): (f64, f64),
    width: f64,
    measures: &Measures,
) {
    let k = measures.k;
    for ((text, x, row), (_, colour)) in places(runs, width, measures).into_iter().zip(runs) {
        let baseline = top + (row as f64 + 0.72) * ROW * k;
        let y = baseline - measures.text * 0.35;
        let stroke = stroke_of(Style::Full, *colour, k * 1.4);
        scene.line("sample", (left + x, y), (left + x + SAMPLE * k, y), stroke);
        write(scene, text, (left + x + (SAMPLE + 6.0) * k, baseline), measures);
    }
}

/// What the marks mean, of those that are there, as far as there is room.
pub(super) fn marks_row(scene: &mut Scene, figure: &Figure, at: (f64, f64), width: f64, measures: &Measures) {
    let k = measures.k;
    let has = |kind| figure.marks.iter().any(|mark: &Mark| mark.kind == kind);
    let has_rings = figure.panels.iter().any(|panel| !panel.rings.is_empty());
    let is_gap = |y: &f64| !y.is_finite();
    let mut values = figure.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
    let has_gaps = values.any(|(_, y)| is_gap(y));
    let entries = [
        (has(MarkKind::Interrupted), "interrupted"),
        (has(MarkKind::Resumed), "resumed"),
        (!figure.bands.is_empty(), "computed again"),
        (has(MarkKind::Checkpoint), "checkpoint"),
        (has_rings, "best epoch"),
        (has_gaps, "not finite"),
    ];
    let mut x = at.0;
    for (_, name) in entries.into_iter().filter(|(is_there, _)| *is_there) {
        let needed = 14.0 * k + font::width(name, measures.text);
        if x + needed > at.0 + width + 1.0 {
            break;
        }
        symbol(scene, name, (x + 4.0 * k, at.1 - measures.text * 0.35), k);
        write(scene, name.to_owned(), (x + 14.0 * k, at.1), measures);
        x += needed + BETWEEN * k;
    }
}

fn symbol(scene: &mut Scene, name: &str, (x, y): (f64, f64), k: f64) {
    let (top, bottom) = (y - 5.5 * k, y + 5.5 * k);
    match name {
        "interrupted" => {
            let stroke = Stroke { dash: Some((5.0 * k, 3.0 * k)), ..Stroke::plain(Colour::INK, 1.2 * k) };
            scene.line("sample", (x, top), (x, bottom), stroke);
        }
        "resumed" => arrow(scene, (x - 3.0 * k, y - 3.5 * k), k),
        "computed again" => {
            let (from, to) = (x - 5.0 * k, x + 5.0 * k);
            let points = vec![(from, top), (to, top), (to, bottom), (from, bottom)];
            scene.add("sample", Shape::Area { points, colour: Colour::GREY, opacity: 0.25 });
        }
        "checkpoint" => triangle(scene, "sample", "", (x, y + 3.0 * k), k),
        "best epoch" => {
            let stroke = Stroke::plain(Colour::INK, 1.4 * k);
            scene.add("sample", Shape::Circle { at: (x, y), radius: 4.0 * k, fill: None, stroke });
        }
        _ => cross(scene, (x, y), Colour::INK, k),
    }
}

fn write(scene: &mut Scene, text: String, at: (f64, f64), measures: &Measures) {
    let (size, colour, anchor) = (measures.text, Colour::INK, Anchor::Start);
    scene.add("legend", Shape::Text { at, text, size, colour, anchor });
}
