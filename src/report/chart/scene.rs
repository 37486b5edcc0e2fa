//! Shapes in pixels, from the back to the front.

use super::figure::Colour;

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// What it shows, for those who can not see it.
    pub title: String,
    /// The shapes; later ones lie on earlier ones.
    pub items: Vec<Item>,
}

/// A shape and what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it stands for, such as `line` or `interrupted`; a word.
    pub class: &'static str,
    /// Said where a pointer rests on it; empty for nothing.
    pub words: String,
    /// The shape.
    pub shape: Shape,
}

/// A shape. Places are in pixels from the left upper corner.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A line through points.
    Path {
        /// The points, at least one.
        points: Vec<(f64, f64)>,
        /// How it is drawn.
        stroke: Stroke,
    },
    /// A filled area with corners.
    Area {
        /// The corners.
        points: Vec<(f64, f64)>,
        /// Its colour.
        colour: Colour,
        /// From 0, which is not seen, to 1.
        opacity: f64,
    },
    /// A circle.
    Circle {
        /// The middle.
        at: (f64, f64),
        /// From the middle to the edge.
        radius: f64,
        /// Inside; `None` for nothing.
        fill: Option<Colour>,
        /// The edge.
        stroke: Stroke,
    },
    /// A text on one line.
    Text {
        /// Where its base line begins, is in the middle, or ends.
        at: (f64, f64),
        /// What is written.
        text: String,
        /// Height of the font.
        size: f64,
        /// Its colour.
        colour: Colour,
        /// Which part of it is at `at`.
        anchor: Anchor,
    },
}

/// How an edge is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    /// Its colour.
    pub colour: Colour,
    /// Pixels across.
    pub width: f64,
    /// From 0, which is not seen, to 1.
    pub opacity: f64,
    /// Pixels drawn and left out in turn; `None` for all drawn.
    pub dash: Option<(f64, f64)>,
}

/// Part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Its first letter.
    Start,
    /// Its middle.
    Middle,
    /// Its last letter.
    End,
}

impl Stroke {
    pub(super) fn plain(colour: Colour, width: f64) -> Self {
        Self { colour, width, opacity: 1.0, dash: None }
    }
}

impl Scene {
    pub(super) fn add(&mut self, class: &'static str, shape: Shape) {
        self.items.push(Item { class, words: String::new(), shape });
    }

    pub(super) fn add_with_words(&mut self, class: &'static str, words: &str, shape: Shape) {
        self.items.push(Item { class, words: words.to_owned(), shape });
    }

    pub(super) fn line(&mut self, class: &'static str, from: (f64, f64), to: (f64, f64), stroke: Stroke) {
        self.add(class, Shape::Path { points: vec![from, to], stroke });
    }
}
