//! A scene as pixels.

use super::figure::Colour;
use super::font::{self, Outline};
use super::scene::{Anchor, Item, Scene, Shape, Stroke};
use png::{BitDepth, ColorType, Compression, Encoder};
use thiserror::Error;
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, StrokeDash, Transform,
};

/// Why there is no picture.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RasterError {
    /// There is no memory for so many pixels.
    #[error("a picture of {width} x {height} pixels can not be drawn; ask for a smaller one, or for SVG")]
    Size {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The pixels can not be encoded.
    #[error("the picture can not be encoded as PNG: {0}")]
    Encode(#[source] png::EncodingError),
}

/// The picture as PNG, 8 bits of red, green and blue.
///
/// # Errors
/// If there is no memory for it.
pub fn png(scene: &Scene) -> Result<Vec<u8>, RasterError> {
    let Scene { width, height, .. } = *scene;
    let mut pixels = Pixmap::new(width, height).ok_or(RasterError::Size { width, height })?;
    pixels.fill(Color::WHITE);
    scene.items.iter().for_each(|item| draw(&mut pixels, item));
    // Everything lies on white, so no pixel is transparent, and its parts are not multiplied with anything.
    let rgb: Vec<u8> =
        pixels.pixels().iter().flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&rgb));
    written.map_err(RasterError::Encode)?;
    Ok(bytes)
}

fn draw(pixels: &mut Pixmap, item: &Item) {
    match &item.shape {
        Shape::Path { points, stroke } => {
            if let Some(path) = through(points, false) {
                edge(pixels, &path, stroke);
            }
        }
        Shape::Area { points, colour, opacity } => {
            if let Some(path) = through(points, true) {
                fill(pixels, &path, *colour, *opacity);
            }
        }
        Shape::Circle { at, radius, fill: inside, stroke } => {
            let Some(path) = PathBuilder::from_circle(at.0 as f32, at.1 as f32, *radius as f32) else {
                return;
            };
            if let Some(colour) = inside {
                fill(pixels, &path, *colour, 1.0);
            }
            edge(pixels, &path, stroke);
        }
        Shape::Text { at, text, size, colour, anchor } => {
            let before = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => font::width(text, *size) / 2.0,
                Anchor::End => font::width(text, *size),
            };
            let mut letters = Letters(PathBuilder::new());
            font::outline(text, *size, (at.0 - before, at.1), &mut letters);
            if let Some(path) = letters.0.finish() {
                fill(pixels, &path, *colour, 1.0);
            }
        }
    }
}

fn through(points: &[(f64, f64)], closes: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let (x, y) = (*x as f32, *y as f32);
        if index == 0 { builder.move_to(x, y) } else { builder.line_to(x, y) }
    }
    if closes {
        builder.close();
    }
    builder.finish()
}

fn paint(Colour(red, green, blue): Colour, opacity: f64) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(red, green, blue, (opacity.clamp(0.0, 1.0) * 255.0).round() as u8);
    paint
}

fn fill(pixels: &mut Pixmap, path: &Path, colour: Colour, opacity: f64) {
    pixels.fill_path(path, &paint(colour, opacity), FillRule::Winding, Transform::identity(), None);
}

fn edge(pixels: &mut Pixmap, path: &Path, stroke: &Stroke) {
    let drawn = tiny_skia::Stroke {
        width: stroke.width as f32,
        line_cap: LineCap::Butt,
        line_join: LineJoin::Round,
        dash: stroke.dash.and_then(|(on, off)| StrokeDash::new(vec![on as f32, off as f32], 0.0)),
        ..tiny_skia::Stroke::default()
    };
    pixels.stroke_path(path, &paint(stroke.colour, stroke.opacity), &drawn, Transform::identity(), None);
}

/// The outlines of letters, as a path.
struct Letters(PathBuilder);

impl Outline for Letters {
    fn move_to(&mut self, x: f32, y: f32) {
        self.0.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.0.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.0.quad_to(x1, y1, x, y);
    }

    fn cubic_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.0.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.0.close();
    }
}
