//! Scaling by a triangle filter that widens where the image shrinks: PIL's and torchvision's antialiased bilinear.

use super::decode::Pixels;

/// Along one axis: the part of the source that is scaled, to which length, and which places of the result are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    /// First source pixel of the part.
    pub(super) start: usize,
    /// Source pixels of the part.
    pub(super) len: usize,
    /// Pixels that it is scaled to.
    pub(super) scaled: usize,
    /// The first of those that is wanted.
    pub(super) offset: usize,
    /// How many are wanted.
    pub(super) out: usize,
}

/// For one place of the result: the first source pixel and the weights of it and those after it.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Axis {
    fn taps(&self) -> Vec<Taps> {
        let scale = self.len as f64 / self.scaled as f64;
        let widened = scale.max(1.0);
        (self.offset..self.offset + self.out)
            .map(|at| {
                let centre = (at as f64 + 0.5) * scale;
                let low = ((centre - widened + 0.5).floor().max(0.0)) as usize;
                let high = ((centre + widened + 0.5).floor() as usize).clamp(low + 1, self.len.max(low + 1));
                let weigh = |pixel: usize| {
                    let distance = (pixel as f64 + 0.5 - centre).abs() / widened;
                    (1.0 - distance).max(0.0)
                };
                let total: f64 = (low..high).map(weigh).sum();
                let total = if total > 0.0 { total } else { 1.0 };
                let weights = (low..high).map(|pixel| (weigh(pixel) / total) as f32).collect();
                Taps { first: self.start + low, weights }
            })
            .collect()
    }
}

/// The wanted part of the scaled image, channel by channel (`[channels, rows.out, columns.out]`), written to `out`.
pub(super) fn resample(pixels: &Pixels, rows: Axis, columns: Axis, mirrored: bool, out: &mut [u8]) {
    let (channels, line) = (pixels.channels, pixels.width * pixels.channels);
    let (row_taps, column_taps) = (rows.taps(), columns.taps());
    let needed = row_taps.iter().map(|taps| taps.first).min().unwrap_or(0)
        ..row_taps.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(0);
    // Columns first: of the rows that are needed, each wanted column.
    let width = columns.out * channels;
    let mut narrow = vec![0.0_f32; needed.len() * width];
    for (row, narrow) in needed.clone().zip(narrow.chunks_exact_mut(width.max(1))) {
        let source = pixels.data.get(row * line..(row + 1) * line).unwrap_or_default();
        for (taps, pixel) in column_taps.iter().zip(narrow.chunks_exact_mut(channels)) {
            let part = source.chunks_exact(channels).skip(taps.first);
            for (weight, from) in taps.weights.iter().zip(part) {
                for (sum, value) in pixel.iter_mut().zip(from) {
                    *sum += weight * f32::from(*value);
                }
            }
        }
    }
    let mut line = vec![0.0_f32; width];
    for (at, taps) in row_taps.iter().enumerate() {
        line.fill(0.0);
        let part = narrow.chunks_exact(width.max(1)).skip(taps.first - needed.start);
        for (weight, from) in taps.weights.iter().zip(part) {
            for (sum, value) in line.iter_mut().zip(from) {
                *sum += weight * value;
            }
        }
        for (channel, plane) in out.chunks_exact_mut(rows.out * columns.out).enumerate() {
            let Some(to) = plane.get_mut(at * columns.out..(at + 1) * columns.out) else { continue };
            let values = line.iter().skip(channel).step_by(channels);
            // A conversion to an integer type stops at its bounds.
            let rounded = values.map(|value| (value + 0.5) as u8);
            if mirrored {
                to.iter_mut().rev().zip(rounded).for_each(|(to, value)| *to = value);
            } else {
                to.iter_mut().zip(rounded).for_each(|(to, value)| *to = value);
            }
        }
    }
}
