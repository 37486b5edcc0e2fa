//! Where everything of a chart is: from a figure to a scene of a size.

use super::axis::{Axis, Ticks, range};
use super::figure::{Colour, Figure, MarkKind, Panel, Scale};
use super::font;
use super::legend::{marks_row, run_rows, runs_rows_needed};
use super::panel::{self, Frame};
use super::scene::{Anchor, Scene, Shape};

/// How large the picture is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down; `None` for as many as the panels take.
    pub height: Option<u32>,
}

/// A picture, and what it has no room for.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The picture.
    pub scene: Scene,
    /// Titles of the panels that did not fit.
    pub left_out: Vec<String>,
}

/// The width at which texts have their usual size, in pixels.
const USUAL_WIDTH: f64 = 960.0;
/// Below this height of a picture, texts become smaller.
const USUAL_HEIGHT: f64 = 480.0;

/// Sizes in a picture of the usual width; all others are multiples.
pub(super) struct Measures {
    /// The multiple.
    pub(super) k: f64,
    /// Height of the font.
    pub(super) text: f64,
}

const PAD: f64 = 8.0;
pub(super) const ROW: f64 = 17.0;
const GAP: f64 = 9.0;
const FIRST_PANEL: f64 = 230.0;
const OTHER_PANEL: f64 = 115.0;
const LEAST_PANEL: f64 = 40.0;
/// How much higher the first panel is than the others.
const FIRST_SHARE: f64 = 1.8;

impl Measures {
    fn of(size: Size) -> Self {
        let by_width = f64::from(size.width) / USUAL_WIDTH;
        let k = size.height.map_or(by_width, |height| by_width.min(f64::from(height) / USUAL_HEIGHT));
        let k = k.clamp(0.75, 8.0);
        Self { k, text: 12.0 * k }
    }
}

/// Draws a figure.
#[must_use]
pub fn draw(figure: &Figure, size: Size) -> Drawn {
    let measures = Measures::of(size);
    let k = measures.k;
    let full_width = f64::from(size.width);
    let has = |kind| figure.marks.iter().any(|mark| mark.kind == kind);
    let has_lane = has(MarkKind::Interrupted) || has(MarkKind::Resumed);
    let has_legend = !figure.marks.is_empty()
        || !figure.bands.is_empty()
        || figure.panels.iter().any(|panel| !panel.rings.is_empty());
    let run_rows_height =
        runs_rows_needed(&figure.runs, full_width - 2.0 * PAD * k, &measures) as f64 * ROW * k;
    let above = (PAD + ROW) * k + run_rows_height + if has_lane { 17.0 * k } else { 4.0 * k };
    let below = (2.0 * ROW + if has_legend { ROW } else { 0.0 } + 4.0) * k;
    let (shown, heights) = heights(figure.panels.len(), size.height, above + below, k);
    let natural: f64 = above + below + heights.iter().map(|height| height + (ROW + GAP) * k).sum::<f64>();
    let height = size.height.unwrap_or(natural.ceil().max(1.0) as u32);
    let mut scene = Scene { width: size.width, height, title: figure.title.clone(), items: Vec::new() };
    let panels = figure.panels.get(..shown).unwrap_or_default();
    let axes: Vec<Option<Axis>> =
        panels.iter().zip(&heights).map(|(panel, height)| axis_of(panel, *height, k)).collect();
    let ticks = axes.iter().flatten().flat_map(|axis| &axis.ticks);
    let widest = ticks.map(|tick| font::width(&tick.label, measures.text)).fold(0.0, f64::max);
    let left = (widest + (PAD + 6.0) * k).min(full_width * 0.35);
    let width = (full_width - left - 2.0 * PAD * k).max(1.0);
    title(&mut scene, &figure.title, &measures);
    run_rows(&mut scene, &figure.runs, (PAD * k, (PAD + ROW) * k), full_width - 2.0 * PAD * k, &measures);
    let x_axis = x_axis(figure, width, k);
    let mut top = above;
    for (index, (panel, (axis, height))) in panels.iter().zip(axes.into_iter().zip(&heights)).enumerate() {
        let frame = Frame { left, top: top + ROW * k, width, height: *height };
        let neighbours = panel::Neighbours { is_first: index == 0, is_last: index + 1 == shown };
        panel::draw(&mut scene, figure, panel, (&x_axis, axis.as_ref()), &frame, neighbours, &measures);
        top += height + (ROW + GAP) * k;
    }
    let baseline = top + ROW * k * 1.25;
    if panels.is_empty() {
        let text = "nothing is recorded yet".to_owned();
        let at = (full_width / 2.0, f64::from(height) / 2.0);
        let (size, colour, anchor) = (measures.text, Colour::GREY, Anchor::Middle);
        scene.add("empty", Shape::Text { at, text, size, colour, anchor });
    } else {
        let text = figure.x_label.clone();
        let (size, colour, anchor) = (measures.text, Colour::INK, Anchor::Middle);
        scene.add("x-label", Shape::Text { at: (left + width / 2.0, baseline), text, size, colour, anchor });
        if has_legend {
            marks_row(&mut scene, figure, (left, baseline + ROW * k), width, &measures);
        }
    }
    let left_out = figure.panels.iter().skip(shown).map(|panel| panel.title.clone()).collect();
    Drawn { scene, left_out }
}

/// How many panels are shown, and how high each is.
fn heights(panels: usize, height: Option<u32>, around: f64, k: f64) -> (usize, Vec<f64>) {
    let Some(height) = height else {
        let each = |index| if index == 0 { FIRST_PANEL } else { OTHER_PANEL } * k;
        return (panels, (0..panels).map(each).collect());
    };
    let room = f64::from(height) - around;
    let fixed = (ROW + GAP) * k;
    // The first takes as much as two of the others.
    let most = (room / (LEAST_PANEL * k + fixed)).floor() - 1.0;
    let shown = panels.min(most.max(1.0) as usize);
    let share = (room - shown as f64 * fixed) / (FIRST_SHARE + shown.saturating_sub(1) as f64);
    let each = |index| (share * if index == 0 { FIRST_SHARE } else { 1.0 }).max(8.0);
    (shown, (0..shown).map(each).collect())
}

fn axis_of(panel: &Panel, height: f64, k: f64) -> Option<Axis> {
    let of_lines = panel.lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y));
    let range = range(of_lines, panel.scale)?;
    let most = (height / (26.0 * k)).floor().clamp(2.0, 9.0) as usize;
    Some(Axis::around(range, panel.scale, most))
}

fn x_axis(figure: &Figure, width: f64, k: f64) -> Axis {
    let of_lines = figure.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
    let of_marks = figure.marks.iter().map(|mark| mark.x);
    let all = of_lines.map(|(x, _)| *x).chain(of_marks);
    // From 0, for that is where a run begins.
    let range = range(all.chain([0.0]), Scale::Linear).unwrap_or((0.0, 1.0));
    let range = if range.1 > range.0 { range } else { (0.0, 1.0) };
    let most = (width / (64.0 * k)).floor().clamp(2.0, 14.0) as usize;
    Axis::over(range, if figure.x_is_count { Ticks::Whole } else { Ticks::Round }, most)
}

fn title(scene: &mut Scene, title: &str, measures: &Measures) {
    let k = measures.k;
    let size = measures.text * 1.15;
    let text = font::fitted(title, size, f64::from(scene.width) - 2.0 * PAD * k);
    let at = (PAD * k, (PAD + ROW * 0.68) * k);
    scene.add("title", Shape::Text { at, text, size, colour: Colour::INK, anchor: Anchor::Start });
}
