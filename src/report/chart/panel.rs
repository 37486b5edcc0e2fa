//! One panel: grid, marks, lines, and its legend.

use super::axis::Axis;
use super::figure::{Colour, Figure, Line, Mark, MarkKind, Panel, Style};
use super::font;
use super::layout::Measures;
use super::legend::line_entries;
use super::scene::{Anchor, Scene, Shape, Stroke};
use super::thin::thin;

/// The rectangle in which the lines are, in pixels.
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Frame {
    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    fn right(&self) -> f64 {
        self.left + self.width
    }

    /// A place on the axis of x, which has one for every finite number.
    fn x(&self, axis: &Axis, x: f64) -> f64 {
        self.left + axis.place(x).unwrap_or(0.0) * self.width
    }

    fn y(&self, axis: &Axis, y: f64) -> Option<f64> {
        y.is_finite().then(|| axis.place(y)).flatten().map(|place| self.bottom() - place * self.height)
    }
}

/// Where a panel is among the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbours {
    /// Marks have their words above it.
    pub(super) is_first: bool,
    /// The axis of x has its numbers below it.
    pub(super) is_last: bool,
}

/// Lines of few points have a dot at each.
const DOTTED: usize = 60;

pub(super) fn draw(
    scene: &mut Scene,
    figure: &Figure,
    panel: &Panel,
    (x_axis, y_axis): (&Axis, Option<&Axis>),
    frame: &Frame,
    neighbours: Neighbours,
    measures: &Measures,
) {
    for (from, to) in &figure.bands {
        band(scene, (frame.x(x_axis, *from), frame.x(x_axis, *to)), frame);
    }
    grid(scene, (x_axis, y_axis), frame, neighbours, measures);
    marks(scene, &figure.marks, x_axis, frame, neighbours, measures);
    heading(scene, figure, panel, frame, measures);
    let Some(y_axis) = y_axis else {
        let text = "no values".to_owned();
        let at = (frame.left + frame.width / 2.0, frame.top + frame.height / 2.0 + measures.text * 0.35);
        let (size, colour, anchor) = (measures.text, Colour::GREY, Anchor::Middle);
        return scene.add("empty", Shape::Text { at, text, size, colour, anchor });
    };
    for line in &panel.lines {
        draw_line(scene, line, (x_axis, y_axis), frame, measures.k);
    }
    for ring in &panel.rings {
        let Some(y) = frame.y(y_axis, ring.at.1) else { continue };
        let at = (frame.x(x_axis, ring.at.0), y);
        let stroke = Stroke::plain(ring.colour, 1.6 * measures.k);
        let shape = Shape::Circle { at, radius: 5.0 * measures.k, fill: None, stroke };
        scene.add_with_words("best", &ring.words, shape);
    }
}

fn band(scene: &mut Scene, (from, to): (f64, f64), frame: &Frame) {
    let (top, bottom) = (frame.top, frame.bottom());
    let points = vec![(from, top), (to, top), (to, bottom), (from, bottom)];
    scene.add("again", Shape::Area { points, colour: Colour::GREY, opacity: 0.16 });
}

fn grid(
    scene: &mut Scene,
    (x_axis, y_axis): (&Axis, Option<&Axis>),
    frame: &Frame,
    neighbours: Neighbours,
    measures: &Measures,
) {
    let k = measures.k;
    let (size, colour) = (measures.text, Colour::GREY);
    let light = Stroke::plain(Colour::LIGHT, 0.8 * k);
    let mut ended_at = f64::NEG_INFINITY;
    for tick in &x_axis.ticks {
        let x = frame.x(x_axis, tick.at);
        scene.line("grid", (x, frame.top), (x, frame.bottom()), light);
        if !neighbours.is_last {
            continue;
        }
        let half = font::width(&tick.label, size) / 2.0;
        let middle = x.min(f64::from(scene.width) - half - 2.0 * k);
        if middle - half > ended_at {
            ended_at = middle + half + 4.0 * k;
            let at = (middle, frame.bottom() + size * 1.15);
            scene.add(
                "tick",
                Shape::Text { at, text: tick.label.clone(), size, colour, anchor: Anchor::Middle },
            );
        }
    }
    for tick in y_axis.map(|axis| axis.ticks.as_slice()).unwrap_or_default() {
        let Some(y) = y_axis.and_then(|axis| frame.y(axis, tick.at)) else { continue };
        scene.line("grid", (frame.left, y), (frame.right(), y), light);
        // Not into the heading, nor below the axis of a low panel.
        let baseline = (y + size * 0.36).min(frame.bottom() + size * 0.3);
        let at = (frame.left - 5.0 * k, baseline);
        scene.add("tick", Shape::Text { at, text: tick.label.clone(), size, colour, anchor: Anchor::End });
    }
    let axis = Stroke::plain(Colour::GREY, k);
    scene.line("axis", (frame.left, frame.top), (frame.left, frame.bottom()), axis);
    scene.line("axis", (frame.left, frame.bottom()), (frame.right(), frame.bottom()), axis);
}

/// What the panel shows, and which line is which, on one row above it.
fn heading(scene: &mut Scene, figure: &Figure, panel: &Panel, frame: &Frame, measures: &Measures) {
    let size = measures.text;
    let baseline = frame.top - size * 0.45;
    let text = font::fitted(&panel.title, size, frame.width * 0.5);
    let taken = font::width(&text, size) + 16.0 * measures.k;
    let at = (frame.left, baseline);
    scene.add("heading", Shape::Text { at, text, size, colour: Colour::INK, anchor: Anchor::Start });
    let room = (frame.left + taken, frame.right());
    line_entries(scene, &panel.lines, !figure.runs.is_empty(), room, baseline, measures);
}

fn marks(
    scene: &mut Scene,
    marks: &[Mark],
    x_axis: &Axis,
    frame: &Frame,
    neighbours: Neighbours,
    measures: &Measures,
) {
    let k = measures.k;
    let mut labelled_to = frame.left - 20.0 * k;
    let mut ticked_to = f64::NEG_INFINITY;
    for mark in marks {
        let x = frame.x(x_axis, mark.x);
        let class = mark.kind.name();
        match mark.kind {
            MarkKind::Interrupted => {
                let stroke = Stroke {
                    dash: Some((5.0 * k, 3.0 * k)),
                    opacity: 0.75,
                    ..Stroke::plain(Colour::INK, 1.2 * k)
                };
                let points = vec![(x, frame.top), (x, frame.bottom())];
                scene.add_with_words(class, &mark.words, Shape::Path { points, stroke });
                if neighbours.is_first {
                    label(scene, &mark.label, x, frame, &mut labelled_to, measures);
                }
            }
            MarkKind::Resumed => {
                let stroke = Stroke {
                    dash: Some((1.5 * k, 3.0 * k)),
                    opacity: 0.8,
                    ..Stroke::plain(Colour::GREY, 1.2 * k)
                };
                let points = vec![(x, frame.top), (x, frame.bottom())];
                scene.add_with_words(class, &mark.words, Shape::Path { points, stroke });
                if neighbours.is_first {
                    arrow(scene, (x, frame.top), k);
                }
            }
            MarkKind::Checkpoint if neighbours.is_first && x > ticked_to => {
                ticked_to = x + 1.0;
                triangle(scene, class, &mark.words, (x, frame.bottom() + 6.5 * k), k);
            }
            MarkKind::Checkpoint => {}
        }
    }
}

/// Above the heading, left of the mark; left out where the one before is.
fn label(scene: &mut Scene, text: &str, x: f64, frame: &Frame, labelled_to: &mut f64, measures: &Measures) {
    let size = measures.text * 0.92;
    let half = font::width(text, size) / 2.0;
    let middle = x.clamp(frame.left + half, (frame.right() - half).max(frame.left + half));
    if middle - half <= *labelled_to {
        return;
    }
    *labelled_to = middle + half + 6.0 * measures.k;
    let at = (middle, frame.top - (super::layout::ROW + 3.0) * measures.k);
    let text = text.to_owned();
    scene.add("label", Shape::Text { at, text, size, colour: Colour::INK, anchor: Anchor::Middle });
}

/// To the right: the run goes on from here.
pub(super) fn arrow(scene: &mut Scene, (x, y): (f64, f64), k: f64) {
    let points = vec![(x, y), (x + 6.0 * k, y + 3.5 * k), (x, y + 7.0 * k)];
    scene.add("arrow", Shape::Area { points, colour: Colour::GREY, opacity: 1.0 });
}

/// Upwards: what is saved.
pub(super) fn triangle(scene: &mut Scene, class: &'static str, words: &str, (x, y): (f64, f64), k: f64) {
    let points = vec![(x, y - 6.0 * k), (x + 3.0 * k, y), (x - 3.0 * k, y)];
    scene.add_with_words(class, words, Shape::Area { points, colour: Colour::GREY, opacity: 0.9 });
}

/// How a line of this style is drawn.
pub(super) fn stroke_of(style: Style, colour: Colour, k: f64) -> Stroke {
    match style {
        Style::Faint => Stroke { opacity: 0.5, ..Stroke::plain(colour, 0.9 * k) },
        Style::Thin => Stroke { opacity: 0.9, ..Stroke::plain(colour, 1.1 * k) },
        Style::Full => Stroke::plain(colour, 1.8 * k),
        Style::Dashed => Stroke { dash: Some((6.0 * k, 3.0 * k)), ..Stroke::plain(colour, 1.8 * k) },
    }
}

fn draw_line(scene: &mut Scene, line: &Line, (x_axis, y_axis): (&Axis, &Axis), frame: &Frame, k: f64) {
    let points = line.points.iter().map(|(x, y)| (frame.x(x_axis, *x) - frame.left, frame.y(y_axis, *y)));
    let thinned = thin(points, frame.width);
    let stroke = stroke_of(line.style, line.colour, k);
    let is_dotted = line.points.len() <= DOTTED && matches!(line.style, Style::Full | Style::Dashed);
    for segment in thinned.segments {
        let points: Vec<(f64, f64)> = segment.iter().map(|(x, y)| (frame.left + x, *y)).collect();
        if is_dotted || points.len() == 1 {
            for at in &points {
                let shape = Shape::Circle {
                    at: *at,
                    radius: if is_dotted { 2.2 * k } else { 1.5 * k },
                    fill: Some(line.colour),
                    stroke: Stroke { opacity: 0.0, ..Stroke::plain(line.colour, 0.0) },
                };
                scene.add("point", shape);
            }
        }
        if points.len() > 1 {
            scene.add_with_words("line", &line.name, Shape::Path { points, stroke });
        }
    }
    for x in thinned.gaps {
        cross(scene, (frame.left + x, frame.top + 5.0 * k), line.colour, k);
    }
}

/// Where a value can not be drawn.
pub(super) fn cross(scene: &mut Scene, (x, y): (f64, f64), colour: Colour, k: f64) {
    let stroke = Stroke::plain(colour, 1.4 * k);
    let by = 3.0 * k;
    for (from, to) in [((x - by, y - by), (x + by, y + by)), ((x - by, y + by), (x + by, y - by))] {
        let points = vec![from, to];
        scene.add_with_words("gap", "not a number that has a place here", Shape::Path { points, stroke });
    }
}
