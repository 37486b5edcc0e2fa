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
    /// Initial values of the parameters of a builtin model; indices: parameter, 0.
    Init = 1,
    /// Order of the training examples; indices: epoch, 0.
    Shuffle = 2,
    /// Split of one data set into training and validation; indices: 0, 0.
    Split = 3,
    /// Dropout masks; indices: step, position of the node among the model's dropout nodes.
    Dropout = 4,
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

#[cfg(test)]
mod tests {
    use super::{Purpose, stream, unit_f32};
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
}
