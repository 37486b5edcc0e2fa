//! Randomness as a function: every random number of a run is determined by (seed, purpose, two indices).
//!
//! Nothing here has a position that would have to be saved: a resumed run asks for the same stream again and gets the
//! same numbers, on every device and for every number of threads. What is drawn from a stream (uniform numbers, masks,
//! permutations) belongs to the module that needs it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is for. Streams of different purposes are independent. The discriminants are part
/// of what makes a run reproducible and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial values of the parameters of a model; indices: parameter, 0.
    Init = 1,
    /// Order of the training examples; indices: epoch, 0.
    Shuffle = 2,
    /// Split of one data set into training and validation; indices: 0, 0.
    Split = 3,
    /// Dropout masks; indices: step, position of the node among the model's dropout nodes.
    Dropout = 4,
    /// Initial values of a last layer that takes the place of another; indices: weight or bias, 0.
    Head = 5,
    /// Where the windows of token data begin; indices: step, 0.
    Window = 6,
    /// Random changes of images; indices: epoch, example.
    Augment = 7,
    /// Settings of the trials of a sweep; indices: trial, position of the axis.
    Sweep = 8,
    /// Examples on which two forms of a model are compared; indices: input, 0.
    Sample = 9,
    /// Numbers that a model draws; indices: step, position of the node among the model's nodes that draw.
    Draw = 10,
}

/// The stream of `purpose` for the run's `seed` and two indices whose meaning [`Purpose`] gives.
///
/// The generator is ChaCha with 8 rounds, keyed with the four numbers as little-endian 64-bit words.
#[must_use]
pub fn stream(seed: u64, purpose: Purpose, first: u64, second: u64) -> ChaCha8Rng {
    let mut key = [0_u8; 32];
    let words = [seed, purpose as u64, first, second];
    for (slot, word) in key.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A number drawn uniformly from `[0, 1)` with 24 random bits, exactly representable in `f32`.
#[must_use]
pub fn unit_f32(rng: &mut impl Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A number drawn from N(0, 1), by the transformation of Box and Muller (1958).
#[must_use]
pub fn standard_normal(rng: &mut impl Rng) -> f32 {
    // The logarithm takes a number above 0.
    let radius = (-2.0 * (1.0 - f64::from(unit_f32(rng))).ln()).sqrt();
    let angle = std::f64::consts::TAU * f64::from(unit_f32(rng));
    (radius * angle.cos()) as f32
}

/// A whole number drawn uniformly from `0..bound`, which is not empty; its bias is below 2^-64 of `bound`.
#[must_use]
pub fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::{Purpose, below, standard_normal, stream, unit_f32};
    use rand_chacha::rand_core::Rng;

    #[test]
    fn streams_repeat_for_equal_keys_and_differ_in_every_component() {
        let first = |seed, purpose, a, b| stream(seed, purpose, a, b).next_u64();
        let base = first(7, Purpose::Init, 3, 4);
        assert_eq!(base, first(7, Purpose::Init, 3, 4));
        let others = [
            first(8, Purpose::Init, 3, 4),
            first(7, Purpose::Shuffle, 3, 4),
            first(7, Purpose::Init, 2, 4),
            first(7, Purpose::Init, 3, 5),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn unit_numbers_stay_inside_the_half_open_interval() {
        let mut rng = stream(1, Purpose::Init, 0, 0);
        let drawn: Vec<f32> = (0..10_000).map(|_| unit_f32(&mut rng)).collect();
        assert!(drawn.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = drawn.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean {mean}");
    }

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let mut rng = stream(1, Purpose::Init, 0, 0);
        let drawn: Vec<f64> = (0..20_000).map(|_| f64::from(standard_normal(&mut rng))).collect();
        let mean = drawn.iter().sum::<f64>() / 20_000.0;
        let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
        assert!(drawn.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn whole_numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut rng = stream(1, Purpose::Window, 0, 0);
        let mut counts = [0; 7];
        (0..7_000).for_each(|_| counts[below(&mut rng, 7) as usize] += 1);
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
        assert_eq!(below(&mut rng, 1), 0);
        assert!((0..100).all(|_| below(&mut rng, u64::MAX) < u64::MAX));
    }
}
