//! Dropout masks, a function of seed, place in the run and node: equal on every device and after every resume.

use crate::random::{Purpose, stream};
use rand_chacha::rand_core::Rng;

/// Fills the mask of one Dropout node: `true` where an element is kept, each dropped with probability `ratio`.
///
/// `batch` counts the batches of the run from 0, refused ones too; `part` is the position of the micro-batch within its
/// batch, `node` that of the node among the model's Dropout nodes. One 32-bit number is drawn per element, so the
/// probability is met within 2^-32.
pub fn fill_mask(seed: u64, batch: u64, part: u64, node: u64, ratio: f64, mask: &mut [bool]) {
    let mut rng = stream(seed, Purpose::Dropout, batch, (part << 32) | node);
    let threshold = (ratio * 4_294_967_296.0) as u64;
    for kept in mask {
        *kept = u64::from(rng.next_u32()) >= threshold;
    }
}

#[cfg(test)]
mod tests {
    use super::fill_mask;

    fn mask(seed: u64, batch: u64, part: u64, node: u64, ratio: f64) -> Vec<bool> {
        let mut mask = vec![false; 20_000];
        fill_mask(seed, batch, part, node, ratio, &mut mask);
        mask
    }

    #[test]
    fn a_mask_is_a_function_of_its_place_and_differs_elsewhere() {
        let base = mask(1, 2, 0, 3, 0.5);
        assert_eq!(base, mask(1, 2, 0, 3, 0.5));
        for other in
            [mask(2, 2, 0, 3, 0.5), mask(1, 3, 0, 3, 0.5), mask(1, 2, 1, 3, 0.5), mask(1, 2, 0, 4, 0.5)]
        {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn elements_are_dropped_with_the_given_probability() {
        for ratio in [0.0, 0.1, 0.5, 0.9] {
            let dropped = mask(7, 0, 0, 0, ratio).iter().filter(|kept| !**kept).count() as f64 / 20_000.0;
            assert!((dropped - ratio).abs() < 0.015, "{dropped} of {ratio}");
        }
    }
}
