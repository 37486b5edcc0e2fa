//! A chart of characters, for a terminal: dots of Unicode's braille patterns, or letters where those can not be shown.

use super::axis::{Axis, Ticks, range};
use super::figure::{Colour, Figure, Line, MarkKind, Panel, Scale, Style};
use std::fmt::Write as _;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Characters across, at least [`LEAST_COLUMNS`].
    pub columns: usize,
    /// Whether it shows Unicode.
    pub has_unicode: bool,
    /// Whether it shows colours.
    pub has_colours: bool,
}

/// Narrower charts say nothing.
pub const LEAST_COLUMNS: usize = 30;

/// Said of a panel without a line.
const NO_VALUES: &str = ": no values";

/// Characters down that a panel has.
const ROWS: usize = 9;
/// Letters of lines where there is no braille, one for each of the colours.
const LETTERS: [char; Colour::MANY] =
    ['*', 'o', '+', 'x', '#', '@', '%', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'm', 'n', 'p'];

/// The figure as lines of text.
#[must_use]
pub fn text(figure: &Figure, terminal: Terminal) -> String {
    let columns = terminal.columns.max(LEAST_COLUMNS);
    let mut out = String::new();
    _ = writeln!(out, "{}", cut(&printable(&figure.title), columns));
    let mut runs = Row::new(columns);
    for (number, (name, colour)) in figure.runs.iter().enumerate() {
        runs.entry(sign(number, terminal), *colour, name, terminal);
    }
    runs.finish(&mut out);
    let x_axis = x_axis(figure, columns);
    let axes: Vec<Option<Axis>> = figure.panels.iter().map(y_axis).collect();
    let labels = axes.iter().flatten().flat_map(|axis| &axis.ticks).map(|tick| tick.label.len());
    let margin = labels.max().unwrap_or(0);
    for (panel, y_axis) in figure.panels.iter().zip(&axes) {
        match y_axis {
            Some(y_axis) => {
                write_panel(&mut out, figure, panel, (&x_axis, y_axis), (columns, margin), terminal)
            }
            None => {
                let title = cut(&printable(&panel.title), columns.saturating_sub(NO_VALUES.len()));
                _ = writeln!(out, "{title}{NO_VALUES}");
            }
        }
    }
    if figure.panels.is_empty() {
        out.push_str("nothing is recorded yet\n");
    }
    out
}

fn x_axis(figure: &Figure, columns: usize) -> Axis {
    let points = figure.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
    let found = range(points.map(|(x, _)| *x).chain([0.0]), Scale::Linear);
    let ends = found.filter(|(min, max)| max > min).unwrap_or((0.0, 1.0));
    let kind = if figure.x_is_count { Ticks::Whole } else { Ticks::Round };
    Axis::over(ends, kind, (columns / 12).max(2))
}

fn y_axis(panel: &Panel) -> Option<Axis> {
    let values = panel.lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y));
    Some(Axis::around(range(values, panel.scale)?, panel.scale, 4))
}

fn write_panel(
    out: &mut String,
    figure: &Figure,
    panel: &Panel,
    (x_axis, y_axis): (&Axis, &Axis),
    (columns, margin): (usize, usize),
    terminal: Terminal,
) {
    let width = columns.saturating_sub(margin + 2).max(8);
    let mut canvas = Canvas::new(width, terminal.has_unicode);
    for mark in figure.marks.iter().filter(|mark| mark.kind == MarkKind::Interrupted) {
        canvas.upright(x_axis.place(mark.x).unwrap_or(0.0));
    }
    for (number, line) in panel.lines.iter().enumerate() {
        let letter = letter(if figure.runs.is_empty() { number } else { colour_number(line.colour) });
        canvas.draw(line, (x_axis, y_axis), letter, terminal);
    }
    let mut heading = Row::new(columns);
    heading.text(&panel.title);
    for (number, line) in panel.lines.iter().enumerate().filter(|(_, line)| !line.name.is_empty()) {
        if figure.runs.is_empty() && line.style != Style::Faint {
            heading.entry(sign(number, terminal), line.colour, &line.name, terminal);
        }
    }
    heading.finish(out);
    let upright = if terminal.has_unicode { '│' } else { '|' };
    for row in 0..ROWS {
        let label = label_of_row(y_axis, row);
        _ = writeln!(out, "{label:>margin$} {upright}{}", canvas.row(row, terminal));
    }
    let (corner, level) = if terminal.has_unicode { ('└', "─") } else { ('+', "-") };
    _ = writeln!(out, "{:margin$} {corner}{}", "", level.repeat(width));
    _ = writeln!(out, "{:margin$}  {}", "", numbers(x_axis, width, &figure.x_label));
}

/// Entries beside each other, on as many lines as they need.
struct Row {
    columns: usize,
    text: String,
    /// Characters of the line that was begun; what paints them takes none.
    taken: usize,
}

impl Row {
    fn new(columns: usize) -> Self {
        Self { columns, text: String::new(), taken: 0 }
    }

    fn text(&mut self, text: &str) {
        self.place("", 0, text);
    }

    /// A sign in a colour, and the name of what has it.
    fn entry(&mut self, sign: char, colour: Colour, name: &str, terminal: Terminal) {
        let sign = painted(&sign.to_string(), colour, terminal) + " ";
        self.place(&sign, 2, name);
    }

    fn place(&mut self, sign: &str, sign_width: usize, name: &str) {
        const BETWEEN: &str = "   ";
        let name = cut(&printable(name), self.columns.saturating_sub(sign_width));
        let needed = sign_width + name.chars().count();
        if self.taken > 0 && self.taken + BETWEEN.len() + needed > self.columns {
            self.text.push('\n');
            self.taken = 0;
        } else if self.taken > 0 {
            self.text.push_str(BETWEEN);
            self.taken += BETWEEN.len();
        }
        self.text.push_str(sign);
        self.text.push_str(&name);
        self.taken += needed;
    }

    fn finish(self, out: &mut String) {
        if !self.text.is_empty() {
            _ = writeln!(out, "{}", self.text);
        }
    }
}

/// The tick that is in this row, from the top.
fn label_of_row(axis: &Axis, row: usize) -> &str {
    let row_of = |tick: &&super::axis::Tick| {
        let place = axis.place(tick.at).unwrap_or(-1.0);
        ((1.0 - place) * ROWS as f64 - 0.5).round().clamp(0.0, ROWS as f64 - 1.0) as usize == row
    };
    axis.ticks.iter().find(row_of).map_or("", |tick| tick.label.as_str())
}

/// The numbers below the axis of x, and what they are.
fn numbers(axis: &Axis, width: usize, label: &str) -> String {
    let mut line = String::new();
    let label = &cut(label, width);
    let room = width.saturating_sub(label.len() + 1);
    for tick in &axis.ticks {
        let at = (axis.place(tick.at).unwrap_or(0.0) * (width - 1) as f64).round() as usize;
        let start = at.saturating_sub(tick.label.len() / 2);
        if (line.is_empty() || start > line.len()) && start + tick.label.len() <= room {
            line.push_str(&" ".repeat(start - line.len()));
            line.push_str(&tick.label);
        }
    }
    let gap = width.saturating_sub(line.len() + label.len());
    line + &" ".repeat(gap) + label
}

/// A grid of characters, each of 2 x 4 dots where there is braille.
struct Canvas {
    width: usize,
    has_dots: bool,
    cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    dots: u8,
    letter: Option<char>,
    colour: Option<Colour>,
    is_upright: bool,
    /// Whether its dots are those of single values, which give way to a line through their means.
    is_faint: bool,
}

impl Canvas {
    fn new(width: usize, has_dots: bool) -> Self {
        Self { width, has_dots, cells: vec![Cell::default(); width * ROWS] }
    }

    /// Dots across and down.
    fn dots(&self) -> (usize, usize) {
        if self.has_dots { (self.width * 2, ROWS * 4) } else { (self.width, ROWS) }
    }

    fn upright(&mut self, place: f64) {
        let column = (place * (self.width - 1) as f64).round().max(0.0) as usize;
        for row in 0..ROWS {
            if let Some(cell) = self.cells.get_mut(row * self.width + column).filter(|_| column < self.width)
            {
                cell.is_upright = true;
            }
        }
    }

    fn dot(&mut self, x: usize, y: usize, line: &Line, letter: char) {
        let (across, down) = if self.has_dots { (2, 4) } else { (1, 1) };
        let Some(cell) = self.cells.get_mut(y / down * self.width + x / across) else { return };
        // The order of the dots in Unicode's braille patterns.
        const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let dot = DOTS.get(y % down).and_then(|row| row.get(x % across)).copied().unwrap_or(0x01);
        let is_faint = line.style == Style::Faint;
        if cell.is_faint && !is_faint {
            cell.dots = 0;
        }
        cell.dots |= dot;
        (cell.letter, cell.colour, cell.is_faint) = (Some(letter), Some(line.colour), is_faint);
    }

    /// A line; between two points its dots are next to each other.
    fn draw(&mut self, line: &Line, (x_axis, y_axis): (&Axis, &Axis), letter: char, terminal: Terminal) {
        let (across, down) = self.dots();
        let mut before: Option<(f64, f64)> = None;
        for (x, y) in &line.points {
            let place = y.is_finite().then(|| y_axis.place(*y)).flatten();
            let Some(place) = place else {
                before = None;
                continue;
            };
            let at = (
                (x_axis.place(*x).unwrap_or(0.0).clamp(0.0, 1.0) * (across - 1) as f64).round(),
                ((1.0 - place.clamp(0.0, 1.0)) * (down - 1) as f64).round(),
            );
            let from = before.replace(at).unwrap_or(at);
            let steps = (at.0 - from.0).abs().max((at.1 - from.1).abs()).max(1.0);
            for step in 0..=steps as usize {
                let share = step as f64 / steps;
                let (x, y) = (from.0 + (at.0 - from.0) * share, from.1 + (at.1 - from.1) * share);
                self.dot(x.round() as usize, y.round() as usize, line, letter);
            }
        }
        // Dots alone do not say whose they are.
        if let Some((x, y)) =
            before.filter(|_| self.has_dots && !terminal.has_colours && line.style != Style::Faint)
        {
            let at = (y / 4.0).floor() * self.width as f64 + (x / 2.0).floor();
            if let Some(cell) = self.cells.get_mut(at as usize) {
                (cell.dots, cell.letter, cell.colour) = (0, Some(letter), Some(line.colour));
            }
        }
    }

    fn row(&self, row: usize, terminal: Terminal) -> String {
        let cells = self.cells.iter().skip(row * self.width).take(self.width);
        let mut text = String::new();
        for cell in cells {
            let shown = match (cell.dots, cell.letter) {
                (0, None) if cell.is_upright => {
                    text.push(if terminal.has_unicode { '┊' } else { ':' });
                    continue;
                }
                (0, Some(letter)) => letter,
                (0, None) => ' ',
                (dots, _) if self.has_dots => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
                (_, letter) => letter.unwrap_or('*'),
            };
            match cell.colour {
                Some(colour) => text.push_str(&painted(&shown.to_string(), colour, terminal)),
                None => text.push(shown),
            }
        }
        text.trim_end().to_owned()
    }
}

fn letter(number: usize) -> char {
    LETTERS.get(number % LETTERS.len()).copied().unwrap_or('*')
}

/// In front of a name: what its line is drawn with, where that is not a colour.
fn sign(number: usize, terminal: Terminal) -> char {
    if terminal.has_unicode && terminal.has_colours { '●' } else { letter(number) }
}

fn colour_number(colour: Colour) -> usize {
    (0..Colour::MANY).position(|number| Colour::of_line(number) == colour).unwrap_or(0)
}

fn painted(text: &str, Colour(red, green, blue): Colour, terminal: Terminal) -> String {
    // Black would not be seen on a dark terminal.
    if !terminal.has_colours || (red, green, blue) == (0, 0, 0) {
        return text.to_owned();
    }
    format!("\u{1b}[38;2;{red};{green};{blue}m{text}\u{1b}[0m")
}

/// Without characters that move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::{Terminal, text};
    use crate::report::chart::figure::{Colour, Figure, Line, Panel, Scale, Style};

    fn figure(points: Vec<(f64, f64)>) -> Figure {
        let line = Line { name: "train".to_owned(), colour: Colour::of_line(0), style: Style::Full, points };
        let panel =
            Panel { title: "loss".to_owned(), scale: Scale::Linear, lines: vec![line], rings: Vec::new() };
        Figure {
            title: "\u{1b}[2Jexp".to_owned(),
            panels: vec![panel],
            x_label: "step".to_owned(),
            x_is_count: true,
            runs: Vec::new(),
            marks: Vec::new(),
            bands: Vec::new(),
        }
    }

    #[test]
    fn it_is_as_wide_as_the_terminal_and_no_title_moves_its_cursor() {
        let points: Vec<(f64, f64)> = (0..1000).map(|x| (f64::from(x), f64::from(x % 50))).collect();
        for (columns, has_unicode) in [(30, false), (80, true), (200, false)] {
            let shown = text(&figure(points.clone()), Terminal { columns, has_unicode, has_colours: false });
            let widest = shown.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= columns && widest >= columns - 2, "{columns}: {widest}\n{shown}");
            assert!(!shown.contains('\u{1b}') && shown.is_ascii() != has_unicode, "{shown}");
        }
    }

    #[test]
    fn a_narrow_terminal_gets_many_long_names_on_lines_of_their_own() {
        let mut figure = figure(vec![(0.0, 1e-300), (1e9, 2e-300)]);
        figure.x_label = "time of work, seconds".to_owned();
        figure.runs = (0..12).map(|number| (format!("run {number}"), Colour::of_line(number))).collect();
        figure.runs.push(("long ".repeat(20), Colour::of_line(12)));
        let plain = Terminal { columns: 30, has_unicode: false, has_colours: false };
        let shown = text(&figure, plain);
        assert!(shown.lines().all(|line| line.chars().count() <= 30), "{shown}");
        let names = ["* run 0", "% run 6", "a run 7", "e run 11", "f long long"];
        assert!(names.into_iter().all(|name| shown.contains(name)), "{shown}");
        figure.runs.clear();
        figure.panels[0].title = "a metric with a name that is long".to_owned();
        let shown = text(&figure, plain);
        assert!(
            shown.lines().all(|line| line.chars().count() <= 30) && shown.contains("\n* train\n"),
            "{shown}"
        );
        figure.panels[0].lines.clear();
        let shown = text(&figure, plain);
        assert!(shown.contains("a metric with a nam: no values"), "{shown}");
    }

    #[test]
    fn a_line_is_seen_among_the_many_values_that_it_is_the_mean_of() {
        let noise = (0..4000).map(|x| (f64::from(x), f64::from(x % 2))).collect();
        let mut figure = figure(noise);
        figure.panels[0].lines[0].style = Style::Faint;
        let plain = Terminal { columns: 40, has_unicode: true, has_colours: false };
        let block = text(&figure, plain).matches('⣿').count();
        let mean = vec![(0.0, 0.5), (4000.0, 0.5)];
        let mean = Line { style: Style::Full, points: mean, ..figure.panels[0].lines[0].clone() };
        figure.panels[0].lines.push(mean);
        let shown = text(&figure, plain);
        assert!(block > 100 && shown.matches('⣿').count() + 30 < block, "{shown}");
    }

    #[test]
    fn a_rising_line_goes_from_the_lower_left_to_the_upper_right() {
        let shown = text(
            &figure(vec![(0.0, 0.0), (10.0, 10.0)]),
            Terminal { columns: 40, has_unicode: false, has_colours: false },
        );
        let rows: Vec<&str> = shown.lines().filter(|line| line.contains('|')).collect();
        let at = |row: &str| row.find('*').unwrap_or_else(|| panic!("{shown}"));
        assert!(at(rows[0]) > at(rows[4]) && at(rows[4]) > at(rows[8]), "{shown}");
    }

    #[test]
    fn values_that_are_no_numbers_leave_gaps_and_none_at_all_is_said() {
        let plain = Terminal { columns: 40, has_unicode: true, has_colours: true };
        assert!(
            text(&figure(vec![(0.0, f64::NAN), (1.0, f64::INFINITY), (2.0, 1.0)]), plain).contains("loss")
        );
        assert!(text(&figure(vec![(0.0, f64::NAN)]), plain).contains("loss: no values"));
        assert!(text(&figure(Vec::new()), plain).contains("loss: no values"));
    }
}
