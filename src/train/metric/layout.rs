//! How positions and classes lie in an output, and which of them count.

/// How positions and classes lie in `[N, C, d1, ...]`, the trailing axes taken as one.
pub(super) struct Layout {
    pub(super) examples: usize,
    pub(super) classes: usize,
    pub(super) inner: usize,
}

impl Layout {
    pub(super) fn new(shape: &[usize]) -> Self {
        let mut axes = shape.iter().copied();
        let (examples, classes) = (axes.next().unwrap_or(1), axes.next().unwrap_or(1));
        Self { examples, classes, inner: elements(axes) }
    }

    pub(super) fn positions(&self) -> usize {
        self.examples.saturating_mul(self.inner)
    }

    /// The values of all classes at a position, which are `inner` apart.
    pub(super) fn classes_at<'a>(
        &self,
        values: &'a [f32],
        position: usize,
    ) -> impl Iterator<Item = f32> + Clone + 'a {
        let (example, inner) = (position / self.inner, position % self.inner);
        let first = example * self.classes * self.inner + inner;
        values.iter().copied().skip(first).step_by(self.inner).take(self.classes)
    }
}

/// The number of elements of a shape. One too large to count is larger than any slice, and refused for that.
pub(super) fn elements(axes: impl Iterator<Item = usize>) -> usize {
    axes.fold(1, usize::saturating_mul)
}

/// The class with the largest value, the lowest such; none if there is a NaN or no class.
pub(in crate::train) fn largest(values: impl Iterator<Item = f32>) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (class, value) in values.enumerate() {
        if value.is_nan() {
            return None;
        }
        if best.is_none_or(|(_, most)| value > most) {
            best = Some((class, value));
        }
    }
    best.map(|(class, _)| class)
}

/// How many classes come before `class` when sorted by value, largest first and equal ones by number; none if there is
/// a NaN.
pub(super) fn rank(values: impl Iterator<Item = f32> + Clone, class: usize) -> Option<usize> {
    let own = values.clone().nth(class)?;
    let mut before = 0;
    for (other, value) in values.enumerate() {
        if value.is_nan() {
            return None;
        }
        before += usize::from(value > own || (value == own && other < class));
    }
    Some(before)
}

/// Logarithms of the probabilities that softmax gives, in `f64`. Of log-probabilities they are those themselves.
pub(in crate::train) fn log_softmax(
    values: impl Iterator<Item = f32> + Clone,
) -> impl Iterator<Item = f64> + Clone {
    let largest = values.clone().map(f64::from).fold(f64::NEG_INFINITY, f64::max);
    // Logits that are all minus infinity have no probabilities; subtracting 0 leaves them that.
    let shift = if largest.is_finite() { largest } else { 0.0 };
    let total: f64 = values.clone().map(|value| (f64::from(value) - shift).exp()).sum();
    values.map(move |value| f64::from(value) - shift - total.ln())
}

/// Which positions count: those where the mask, given for the leading axes, is not 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) mask: Option<&'a [f32]>,
    /// Positions, or values, that the mask is spread over.
    pub(super) of: usize,
}

impl Counted<'_> {
    pub(super) fn counts(&self, at: usize) -> bool {
        let Some(mask) = self.mask.filter(|mask| !mask.is_empty()) else { return true };
        let spread = (self.of / mask.len()).max(1);
        mask.get(at / spread).is_none_or(|value| *value != 0.0)
    }
}
