//! The order of the examples as a function of (seed, epoch): nothing is stored, so nothing has to be saved.

use rand_chacha::rand_core::Rng;

use crate::random::{Purpose, stream};

/// Rounds of the Feistel network. Four make a pseudo-random permutation of ideal round functions (Luby and Rackoff,
/// 1988); twice as many make up for round functions that are merely well mixed.
const ROUNDS: usize = 8;

/// Smallest half of the network's domain, in bits. Permutations of very few elements are drawn from a domain of
/// 2^10 values, because a Feistel network over so few bits reaches only a part of all permutations.
const MIN_HALF_BITS: u32 = 5;

/// A pseudo-random permutation of `0..len`, evaluated at one place at a time without being stored.
///
/// A balanced Feistel network permutes the smallest domain of 4^h values that holds `len`; a value outside `0..len` is
/// sent through again until it falls inside (cycle walking, Black and Rogaway, 2002). As the network is a permutation
/// the walk always ends, on average after fewer than 4 passes for `len > 256`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    pub(crate) fn new(len: usize, rng: &mut impl Rng) -> Self {
        let len = len as u64;
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self {
            len,
            half_bits: bits.div_ceil(2).max(MIN_HALF_BITS),
            keys: std::array::from_fn(|_| rng.next_u64()),
        }
    }

    /// Where `position` is sent; both lie in `0..len`.
    pub(crate) fn at(&self, position: usize) -> usize {
        debug_assert!((position as u64) < self.len, "position {position} of {}", self.len);
        let mut value = self.encrypt(position as u64);
        while value >= self.len {
            value = self.encrypt(value);
        }
        usize::try_from(value).expect("the value is below `len`, which was given as usize")
    }

    fn encrypt(&self, value: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every input bit reaches every output bit.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The order in which one epoch sees the examples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    len: usize,
    permutation: Option<Permutation>,
}

impl Order {
    /// An order of its own for each epoch, determined by the seed.
    #[must_use]
    pub fn shuffled(seed: u64, epoch: u64, len: usize) -> Self {
        let mut rng = stream(seed, Purpose::Shuffle, epoch, 0);
        Self { len, permutation: Some(Permutation::new(len, &mut rng)) }
    }

    /// The order of the file.
    #[must_use]
    pub fn sequential(len: usize) -> Self {
        Self { len, permutation: None }
    }

    /// The example at `position`, or `None` beyond the last.
    #[must_use]
    pub fn at(&self, position: usize) -> Option<usize> {
        (position < self.len).then(|| match &self.permutation {
            Some(permutation) => permutation.at(position),
            None => position,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Order;

    fn collected(order: &Order, len: usize) -> Vec<usize> {
        (0..len).map(|position| order.at(position).unwrap()).collect()
    }

    #[track_caller]
    fn check_bijection(len: usize) {
        let mut seen = vec![false; len];
        let order = Order::shuffled(7, 1, len);
        for position in 0..len {
            let example = order.at(position).unwrap();
            assert!(!std::mem::replace(&mut seen[example], true), "{example} of {len} comes twice");
        }
        assert_eq!(order.at(len), None);
    }

    #[test]
    fn every_example_comes_exactly_once_for_every_length() {
        (0..70).for_each(check_bijection);
        for power in 7..=17 {
            let len = 1_usize << power;
            [len - 1, len, len + 1].into_iter().for_each(check_bijection);
        }
        check_bijection(50_000);
    }

    #[test]
    fn lengths_near_the_limits_of_the_machine_word_are_walked_without_overflow() {
        for len in [usize::MAX, usize::MAX - 1, (1 << 62) + 1, 1 << 32] {
            let order = Order::shuffled(1, 1, len);
            assert!(order.at(len - 1).unwrap() < len);
            assert!(order.at(0).unwrap() < len);
        }
    }

    #[test]
    fn epochs_and_seeds_have_orders_of_their_own_and_repeat_them() {
        let order = |seed, epoch| collected(&Order::shuffled(seed, epoch, 100), 100);
        assert_eq!(order(3, 5), order(3, 5));
        assert_ne!(order(3, 5), order(3, 6));
        assert_ne!(order(3, 5), order(4, 5));
        assert_ne!(order(3, 5), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn an_order_is_part_of_what_a_run_reproduces_and_stays_what_it_is() {
        assert_eq!(collected(&Order::shuffled(7, 1, 10), 10), GOLDEN);
    }

    #[test]
    fn a_sequential_order_is_the_order_of_the_file() {
        assert_eq!(collected(&Order::sequential(4), 4), [0, 1, 2, 3]);
        assert_eq!(Order::sequential(4).at(4), None);
    }

    /// Pearson's statistic of counts that should all be `expected`.
    fn chi_square(counts: &[u32], expected: f64) -> f64 {
        counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn all_orders_of_four_examples_are_equally_frequent() {
        let mut counts = vec![0_u32; 256];
        for epoch in 0..24_000 {
            let code = collected(&Order::shuffled(1, epoch, 4), 4)
                .iter()
                .fold(0, |code, example| code * 4 + example);
            counts[code] += 1;
        }
        counts.retain(|count| *count > 0);
        assert_eq!(counts.len(), 24);
        // 23 degrees of freedom: 58.6 is passed by chance once in 15,000.
        let statistic = chi_square(&counts, 1_000.0);
        assert!(statistic < 58.6, "{statistic}");
    }

    #[test]
    fn each_example_is_equally_likely_at_each_position() {
        const LEN: usize = 37;
        let mut counts = vec![0_u32; LEN * LEN];
        for epoch in 0..3_700 {
            for (position, example) in collected(&Order::shuffled(2, epoch, LEN), LEN).into_iter().enumerate()
            {
                counts[position * LEN + example] += 1;
            }
        }
        // 36 * 36 = 1296 degrees of freedom, standard deviation 51: four of them.
        let statistic = chi_square(&counts, 100.0);
        assert!((1_092.0..1_500.0).contains(&statistic), "{statistic}");
    }

    #[test]
    fn neighbours_in_the_file_are_torn_apart() {
        const LEN: usize = 10_000;
        let order = collected(&Order::shuffled(3, 1, LEN), LEN);
        let mean_distance =
            order.windows(2).map(|pair| pair[0].abs_diff(pair[1]) as f64).sum::<f64>() / (LEN - 1) as f64;
        // Two numbers drawn uniformly lie a third of the range apart.
        assert!((mean_distance / LEN as f64 - 1.0 / 3.0).abs() < 0.01, "{mean_distance}");
    }

    const GOLDEN: [usize; 10] = [4, 6, 1, 3, 0, 8, 5, 9, 7, 2];
}
