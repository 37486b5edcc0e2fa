//! What a chart is made of.

/// Panels one under another, with one axis of x.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Above all panels.
    pub title: String,
    /// From the top.
    pub panels: Vec<Panel>,
    /// What x is, with its unit.
    pub x_label: String,
    /// Whether x counts something, and its ticks are whole numbers.
    pub x_is_count: bool,
    /// Names of the colours of several runs; empty where there is one.
    pub runs: Vec<(String, Colour)>,
    /// What happened at places of x.
    pub marks: Vec<Mark>,
    /// Ranges of x that were computed twice.
    pub bands: Vec<(f64, f64)>,
}

/// Lines with one axis of y.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What y is, with its unit.
    pub title: String,
    /// How y is scaled.
    pub scale: Scale,
    /// Drawn in this order.
    pub lines: Vec<Line>,
    /// Points to be found at a glance, such as the best.
    pub rings: Vec<Ring>,
}

/// How an axis is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equal distances.
    Linear,
    /// Equal ratios are equal distances; what is not above 0 has no place.
    Log,
}

/// A line through points.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// In the legend; lines of the same name and style have one entry.
    pub name: String,
    /// Its colour.
    pub colour: Colour,
    /// Its style.
    pub style: Style,
    /// By ascending x. A y that is not finite is a gap.
    pub points: Vec<(f64, f64)>,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Thin and light: single values behind their mean.
    Faint,
    /// Thin: single values that nothing else stands for.
    Thin,
    /// A full line.
    Full,
    /// Dashes.
    Dashed,
}

/// A point with a ring around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ring {
    /// Where.
    pub at: (f64, f64),
    /// Its colour.
    pub colour: Colour,
    /// Said where a pointer rests on it.
    pub words: String,
}

/// Something that happened at a place of x.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where.
    pub x: f64,
    /// What kind of thing.
    pub kind: MarkKind,
    /// Of the run that it is of, where there are several.
    pub colour: Colour,
    /// A word or two, written beside the mark where there is room; empty for none.
    pub label: String,
    /// Said where a pointer rests on it.
    pub words: String,
}

/// Kinds of marks, in the order of the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// A process ended before the run did.
    Interrupted,
    /// Another one took the run up.
    Resumed,
    /// A checkpoint was published.
    Checkpoint,
}

impl MarkKind {
    /// In the legend, and the class of the shapes in SVG.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Resumed => "resumed",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// Red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    /// Text and the frame.
    pub const INK: Self = Self(0x22, 0x22, 0x22);
    /// Ticks and marks.
    pub const GREY: Self = Self(0x66, 0x66, 0x66);
    /// Grid.
    pub const LIGHT: Self = Self(0xe3, 0xe3, 0xe3);
    /// Behind everything.
    pub const WHITE: Self = Self(0xff, 0xff, 0xff);
    /// Lines that are told apart by people who see colours in any of the usual ways: M. Okabe and K. Ito, "Color
    /// Universal Design", 2008, without yellow, which is faint on white.
    pub const LINES: [Self; 7] = [
        Self(0x00, 0x72, 0xb2),
        Self(0xd5, 0x5e, 0x00),
        Self(0x00, 0x9e, 0x73),
        Self(0xcc, 0x79, 0xa7),
        Self(0xe6, 0x9f, 0x00),
        Self(0x56, 0xb4, 0xe9),
        Self(0x00, 0x00, 0x00),
    ];

    /// As many lines have colours of their own.
    pub const MANY: usize = Self::LINES.len() * 3;

    /// The colour of the line of this number: first those of [`Self::LINES`], then these darker, then these lighter; then they
    /// repeat.
    #[must_use]
    pub fn of_line(number: usize) -> Self {
        let Self(red, green, blue) =
            Self::LINES.get(number % Self::LINES.len()).copied().unwrap_or(Self::INK);
        let shade = |part: u8| match number % Self::MANY / Self::LINES.len() {
            0 => part,
            // Black has no darker form: a grey takes its place.
            1 => part.max(u8::from((red, green, blue) == (0, 0, 0)) * 250) / 5 * 3,
            _ => 255 - (255 - part) / 5 * 3,
        };
        Self(shade(red), shade(green), shade(blue))
    }
}

#[cfg(test)]
mod tests {
    use super::Colour;

    #[test]
    fn each_of_many_lines_has_a_colour_that_no_other_has_and_that_is_seen_on_white() {
        let colours: Vec<Colour> = (0..Colour::MANY).map(Colour::of_line).collect();
        for (number, one) in colours.iter().enumerate() {
            for other in colours.iter().take(number).chain([&Colour::WHITE]) {
                let apart = |a: u8, b: u8| u32::from(a.abs_diff(b));
                let distance = apart(one.0, other.0) + apart(one.1, other.1) + apart(one.2, other.2);
                assert!(distance >= 40, "{number}: {one:?} {other:?}");
            }
        }
        assert_eq!(colours[..Colour::LINES.len()], Colour::LINES);
    }
}
