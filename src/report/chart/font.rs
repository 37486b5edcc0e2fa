//! The font of pictures: how wide a text is, and the outlines of its letters.

use std::sync::OnceLock;
use ttf_parser::{Face, GlyphId, OutlineBuilder};

/// DejaVu Sans, cut to the letters that names and numbers need; NOTICE.txt beside it has its licence.
static BYTES: &[u8] = include_bytes!("font/DejaVuSans-subset.ttf");

/// What SVG asks for: the same font where it is installed, one of the same widths, or any.
pub(super) const FAMILIES: &str = "DejaVu Sans, Verdana, sans-serif";

fn face() -> &'static Face<'static> {
    static FACE: OnceLock<Face<'static>> = OnceLock::new();
    FACE.get_or_init(|| Face::parse(BYTES, 0).expect("the embedded font is a font, which a test checks"))
}

/// A letter that the font does not have is drawn as a box.
fn glyph(letter: char) -> GlyphId {
    face().glyph_index(letter).unwrap_or_default()
}

fn advance(letter: char) -> f64 {
    f64::from(face().glyph_hor_advance(glyph(letter)).unwrap_or(0))
}

/// Pixels that a text of this size takes.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(advance).sum::<f64>() * size / f64::from(face().units_per_em())
}

/// The text, cut to at most so many pixels with an ellipsis where it is longer.
pub(super) fn fitted(text: &str, size: f64, most: f64) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let room = most - width("…", size);
    let (mut cut, mut taken) = (String::new(), 0.0);
    for letter in text.chars() {
        taken += advance(letter) * size / f64::from(face().units_per_em());
        if taken > room {
            break;
        }
        cut.push(letter);
    }
    cut + "…"
}

/// Draws the outlines of a text whose base line begins at `at`.
pub(super) fn outline(text: &str, size: f64, at: (f64, f64), builder: &mut impl Outline) {
    let scale = size / f64::from(face().units_per_em());
    let mut x = at.0;
    for letter in text.chars() {
        let mut placed = Placed { builder: &mut *builder, scale, x, y: at.1 };
        face().outline_glyph(glyph(letter), &mut placed);
        x += advance(letter) * scale;
    }
}

/// Takes outlines, in pixels, y downwards.
pub(super) trait Outline {
    fn move_to(&mut self, x: f32, y: f32);
    fn line_to(&mut self, x: f32, y: f32);
    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32);
    fn cubic_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32);
    fn close(&mut self);
}

/// A glyph at its place.
struct Placed<'a, B> {
    builder: &'a mut B,
    scale: f64,
    x: f64,
    y: f64,
}

impl<B> Placed<'_, B> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        ((self.x + f64::from(x) * self.scale) as f32, (self.y - f64::from(y) * self.scale) as f32)
    }
}

impl<B: Outline> OutlineBuilder for Placed<'_, B> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.builder.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.builder.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.builder.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.builder.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.builder.close();
    }
}

#[cfg(test)]
mod tests {
    use super::{fitted, glyph, width};

    #[test]
    fn the_embedded_font_has_the_letters_of_names_and_numbers() {
        for letter in (' '..='~').chain("äßñéÅŁαβπλµΩбжя…–—×●★".chars()) {
            assert_ne!(glyph(letter).0, 0, "{letter}");
        }
        assert_eq!(glyph('漢').0, 0);
    }

    #[test]
    fn a_text_is_as_wide_as_its_letters_and_cut_where_it_is_too_wide() {
        // Digits of DejaVu Sans are 1303 of 2048 units wide.
        assert!((width("0123456789", 10.0) - 10.0 * 10.0 * 1303.0 / 2048.0).abs() < 1e-9);
        assert_eq!(fitted("short", 10.0, 100.0), "short");
        let cut = fitted(&"long ".repeat(20), 10.0, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0) <= 100.0 && width(&cut, 10.0) > 85.0, "{cut}");
    }
}
