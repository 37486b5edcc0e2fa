//! Which part of an image becomes an example, as in torchvision.

use rand_chacha::ChaCha8Rng;

use super::decode::Pixels;
use super::resample::{Axis, resample};
use crate::config::{Crop, ImagesPlan};
use crate::random::{Purpose, below, stream, unit_f32};

/// Part of the area of an image that a random part has at least, and bounds of its width over its height:
/// `torchvision.transforms.RandomResizedCrop`.
const MIN_AREA: f64 = 0.08;
const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// How often such a part is drawn before the middle of the image is taken.
const TRIES: usize = 10;

/// The place of an example in a run, by which its random choices are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Draw {
    pub(crate) seed: u64,
    pub(crate) epoch: u64,
}

/// From pixels to `[channels, height, width]`. Without a draw the middle is taken and nothing mirrored.
pub(super) fn apply(plan: &ImagesPlan, pixels: &Pixels, draw: Option<(Draw, usize)>, out: &mut [u8]) {
    let mut rng = draw.map(|(draw, image)| stream(draw.seed, Purpose::Augment, draw.epoch, image as u64));
    let (rows, columns) = match (plan.crop, &mut rng) {
        (Crop::Stretch, _) => (whole(pixels.height, plan.height), whole(pixels.width, plan.width)),
        (Crop::RandomResized, Some(rng)) => random_part(plan, pixels, rng),
        (crop, rng) => shorter_side(plan, pixels, rng.as_mut().filter(|_| crop == Crop::Random)),
    };
    let mirrored = plan.flip && rng.is_some_and(|mut rng| unit_f32(&mut rng) < 0.5);
    resample(pixels, rows, columns, mirrored, out);
}

fn whole(len: usize, out: usize) -> Axis {
    Axis { start: 0, len, scaled: out, offset: 0, out }
}

/// The shorter side becomes `plan.resize` pixels long, and of that the middle is taken, or a part drawn.
fn shorter_side(plan: &ImagesPlan, pixels: &Pixels, mut rng: Option<&mut ChaCha8Rng>) -> (Axis, Axis) {
    let shorter = pixels.width.min(pixels.height);
    let mut axis = |len: usize, out: usize| {
        // A long side that is rounded down is still as long as the short one.
        let scaled = (plan.resize * len / shorter).max(out);
        let room = scaled - out;
        let offset = match &mut rng {
            Some(rng) => usize::try_from(below(*rng, room as u64 + 1)).unwrap_or(0),
            // torchvision rounds the half to the even number.
            None => (room as f64 / 2.0).round_ties_even() as usize,
        };
        Axis { start: 0, len, scaled, offset, out }
    };
    let rows = axis(pixels.height, plan.height);
    (rows, axis(pixels.width, plan.width))
}

/// A part of random size, shape and place, scaled to the example.
fn random_part(plan: &ImagesPlan, pixels: &Pixels, rng: &mut ChaCha8Rng) -> (Axis, Axis) {
    let (width, height) = (pixels.width, pixels.height);
    let area = (width * height) as f64;
    for _ in 0..TRIES {
        let part = area * (MIN_AREA + (1.0 - MIN_AREA) * f64::from(unit_f32(rng)));
        let (low, high) = (RATIO.0.ln(), RATIO.1.ln());
        let ratio = (low + (high - low) * f64::from(unit_f32(rng))).exp();
        let (wide, tall) = ((part * ratio).sqrt().round() as usize, (part / ratio).sqrt().round() as usize);
        if (1..=width).contains(&wide) && (1..=height).contains(&tall) {
            let mut start = |room: usize| usize::try_from(below(rng, room as u64 + 1)).unwrap_or(0);
            let (top, left) = (start(height - tall), start(width - wide));
            return (
                Axis { start: top, ..whole(tall, plan.height) },
                Axis { start: left, ..whole(wide, plan.width) },
            );
        }
    }
    let ratio = width as f64 / height as f64;
    let wide = if ratio > RATIO.1 { (height as f64 * RATIO.1).round() as usize } else { width };
    let tall = if ratio < RATIO.0 { (width as f64 / RATIO.0).round() as usize } else { height };
    let (wide, tall) = (wide.clamp(1, width), tall.clamp(1, height));
    let rows = Axis { start: (height - tall) / 2, ..whole(tall, plan.height) };
    (rows, Axis { start: (width - wide) / 2, ..whole(wide, plan.width) })
}
