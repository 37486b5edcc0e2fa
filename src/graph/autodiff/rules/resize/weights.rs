//! Which elements of the input an element of the output is made of, and with which weights: the definition of ONNX's
//! Resize, in float32 as ONNX Runtime computes it.

/// How an element is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mode {
    /// The nearest element.
    Nearest,
    /// The two neighbours, by distance.
    Linear,
    /// The four neighbours, by a cubic function of the distance.
    Cubic,
}

impl Mode {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "nearest" => Some(Self::Nearest),
            "linear" => Some(Self::Linear),
            "cubic" => Some(Self::Cubic),
            _ => None,
        }
    }
}

/// Which element is the nearest to a position between two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

impl Nearest {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "round_prefer_floor" => Some(Self::RoundPreferFloor),
            "round_prefer_ceil" => Some(Self::RoundPreferCeil),
            "floor" => Some(Self::Floor),
            "ceil" => Some(Self::Ceil),
            _ => None,
        }
    }

    fn of(self, position: f32) -> f32 {
        match self {
            Self::RoundPreferFloor if position == position.trunc() + 0.5 => position.floor(),
            Self::RoundPreferFloor | Self::RoundPreferCeil => position.round(),
            Self::Floor => position.floor(),
            Self::Ceil => position.ceil(),
        }
    }
}

/// Where an element of the output lies between those of the input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    CropAndResize,
}

impl Coordinates {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "half_pixel" => Some(Self::HalfPixel),
            "half_pixel_symmetric" => Some(Self::HalfPixelSymmetric),
            "pytorch_half_pixel" => Some(Self::PytorchHalfPixel),
            "align_corners" => Some(Self::AlignCorners),
            "asymmetric" => Some(Self::Asymmetric),
            "tf_crop_and_resize" => Some(Self::CropAndResize),
            _ => None,
        }
    }
}

/// The attributes of a Resize.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter {
    pub(super) mode: Mode,
    pub(super) nearest: Nearest,
    pub(super) coordinates: Coordinates,
    /// The coefficient of the cubic function.
    pub(super) cubic: f32,
    /// Whether neighbours outside the input count nothing, instead of as the element at the border.
    pub(super) excludes_outside: bool,
    /// Whether the filter widens where the output is smaller than the input.
    pub(super) antialias: bool,
}

/// One axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) scale: f32,
    /// Start and end of the region that is cropped.
    pub(super) region: (f32, f32),
}

/// An element of the input with its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tap {
    pub(super) source: usize,
    pub(super) weight: f32,
}

/// For each element of the output along an axis what it is made of; nothing where a value is filled in.
pub(super) fn taps(filter: &Filter, axis: &Axis) -> Vec<Vec<Tap>> {
    (0..axis.output).map(|position| taps_at(filter, axis, position)).collect()
}

fn taps_at(filter: &Filter, axis: &Axis, position: usize) -> Vec<Tap> {
    let at = original(filter.coordinates, axis, position as f32);
    let last = axis.input.saturating_sub(1) as f32;
    if filter.coordinates == Coordinates::CropAndResize && !(0.0..=last).contains(&at) {
        return Vec::new();
    }
    if filter.antialias && filter.mode != Mode::Nearest {
        return widened(filter, axis, at);
    }
    match filter.mode {
        Mode::Nearest => {
            let source = filter.nearest.of(at).clamp(0.0, last);
            vec![Tap { source: source as usize, weight: 1.0 }]
        }
        Mode::Linear => {
            let at = at.clamp(0.0, last);
            let (below, fraction) = (at.floor(), at - at.floor());
            let above = (below + 1.0).min(last);
            let lower = Tap { source: below as usize, weight: 1.0 - fraction };
            vec![lower, Tap { source: above as usize, weight: fraction }]
        }
        Mode::Cubic => {
            let fraction = at - at.floor();
            let neighbours = (-1..=2).map(|offset| {
                let distance = (fraction - offset as f32).abs();
                (at.floor() + offset as f32, cubic(filter.cubic, distance))
            });
            gathered(neighbours, filter.excludes_outside, axis.input)
        }
    }
}

/// The position of an element of the output on the axis of the input.
fn original(coordinates: Coordinates, axis: &Axis, position: f32) -> f32 {
    let (input, output) = (axis.input as f32, axis.output as f32);
    let half_pixel = (position + 0.5) / axis.scale - 0.5;
    match coordinates {
        Coordinates::HalfPixel => half_pixel,
        Coordinates::HalfPixelSymmetric => {
            let adjustment = output / (axis.scale * input);
            input / 2.0 * (1.0 - adjustment) + half_pixel
        }
        Coordinates::PytorchHalfPixel => {
            if axis.output > 1 {
                half_pixel
            } else {
                0.0
            }
        }
        Coordinates::AlignCorners if axis.output == 1 => 0.0,
        Coordinates::AlignCorners => position * (input - 1.0) / (output - 1.0),
        Coordinates::Asymmetric => position / axis.scale,
        Coordinates::CropAndResize => {
            let (start, end) = axis.region;
            if axis.output > 1 {
                start * (input - 1.0) + position * (end - start) * (input - 1.0) / (output - 1.0)
            } else {
                0.5 * (start + end) * (input - 1.0)
            }
        }
    }
}

/// The cubic convolution function (Keys, 1981) with coefficient `a`.
fn cubic(a: f32, distance: f32) -> f32 {
    let d = distance;
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}

/// Neighbours, of which those outside count as the border, or not at all and the others accordingly more.
fn gathered(neighbours: impl Iterator<Item = (f32, f32)>, excludes_outside: bool, input: usize) -> Vec<Tap> {
    let last = input.saturating_sub(1) as f32;
    let counted = neighbours.filter(|(source, _)| !excludes_outside || (0.0..=last).contains(source));
    let tap = |(source, weight): (f32, f32)| Tap { source: source.clamp(0.0, last) as usize, weight };
    let taps: Vec<Tap> = counted.map(tap).collect();
    if excludes_outside { normalized(taps) } else { taps }
}

/// The same with weights that sum up to 1.
fn normalized(mut taps: Vec<Tap>) -> Vec<Tap> {
    let total: f32 = taps.iter().map(|tap| tap.weight).sum();
    taps.iter_mut().for_each(|tap| tap.weight /= total);
    taps
}

/// A filter that widens by as much as the output is smaller, so that every element of the input counts.
fn widened(filter: &Filter, axis: &Axis, at: f32) -> Vec<Tap> {
    let shrink = axis.scale.min(1.0);
    let reach = (if filter.mode == Mode::Linear { 1.0 } else { 2.0 }) / shrink;
    let centre = at + 0.5;
    let (first, end) = ((centre - reach + 0.5).floor(), (centre + reach + 0.5).floor());
    let count = (end - first).max(0.0) as usize;
    let neighbours = (0..count).map(|offset| {
        let source = first + offset as f32;
        let distance = ((source - centre + 0.5) * shrink).abs();
        let weight = if filter.mode == Mode::Linear {
            (1.0 - distance).max(0.0)
        } else {
            cubic(filter.cubic, distance)
        };
        (source, weight)
    });
    normalized(gathered(neighbours, filter.excludes_outside, axis.input))
}
