//! The global norm of a model's gradients, and the factor that clips it.

use super::sums::{self, TASK_ELEMENTS};
use rayon::join;

/// The L2 norm of all `gradients` taken as one vector.
///
/// Squares are added up in `f64`, where no `f32` overflows, in an order that depends on the lengths of the slices
/// alone: the bits are the same for every number of threads. An infinite element gives infinity, a NaN gives NaN (NaN
/// wins over infinity), so one look at the result tells whether every element is finite. Runs in the current rayon
/// pool and allocates nothing of its own.
#[must_use]
pub fn gradient_norm(gradients: &[&[f32]]) -> f64 {
    sum_of_squares(gradients).sqrt()
}

/// The factor that scales gradients of global norm `norm` down to `max_norm`:
/// `min(1, max_norm / (norm + 1e-6))`, as `torch.nn.utils.clip_grad_norm_` has it. A NaN gives NaN.
#[must_use]
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    let factor = max_norm / (norm + 1e-6);
    if factor > 1.0 { 1.0 } else { factor }
}

fn sum_of_squares(gradients: &[&[f32]]) -> f64 {
    let elements: usize = gradients.iter().map(|gradient| gradient.len()).sum();
    match gradients {
        [only] => sums::sum_of_tensor(only),
        several if several.is_empty() || elements <= TASK_ELEMENTS => {
            several.iter().map(|gradient| sums::sum_of_squares(gradient)).sum()
        }
        several => {
            let (front, back) = several.split_at(halfway(several, elements));
            let (front, back) = join(|| sum_of_squares(front), || sum_of_squares(back));
            front + back
        }
    }
}

/// Where to cut a list of at least two so that both parts hold about as many elements and neither is empty.
fn halfway(gradients: &[&[f32]], elements: usize) -> usize {
    let mut before = 0;
    let reaching_half = gradients.iter().take_while(|gradient| {
        before += gradient.len();
        before < elements.div_ceil(2)
    });
    reaching_half.count().clamp(1, gradients.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::{clip_factor, gradient_norm, sums};

    fn ramp(elements: usize) -> Vec<f32> {
        (0..elements).map(|index| ((index * 7919 % 1013) as f32 - 500.0) * 1e-3).collect()
    }

    #[test]
    fn norm_is_that_of_all_elements_as_one_vector() {
        let (a, b, c) = (ramp(100_003), ramp(5), ramp(40_000));
        let expected: f64 = [&a, &b, &c].into_iter().flatten().map(|x| f64::from(*x).powi(2)).sum();
        let norm = gradient_norm(&[&a, &b, &[], &c]);
        assert!((norm / expected.sqrt() - 1.0).abs() < 1e-12, "{norm} against {}", expected.sqrt());
        assert_eq!(gradient_norm(&[&[3.0], &[-4.0]]), 5.0);
        assert_eq!(gradient_norm(&[]), 0.0);
        assert_eq!(gradient_norm(&[&[], &[]]), 0.0);
    }

    #[test]
    fn norm_has_the_same_bits_for_every_number_of_threads() {
        let tensors: Vec<Vec<f32>> = [200_001, 3, 17, 65_536, 0, 40_000].map(ramp).to_vec();
        let slices: Vec<&[f32]> = tensors.iter().map(Vec::as_slice).collect();
        let norm_with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| gradient_norm(&slices)).to_bits()
        };
        assert_eq!(norm_with(1), norm_with(2));
        assert_eq!(norm_with(1), norm_with(5));
    }

    #[test]
    fn vector_instructions_change_no_bit_of_the_norm() {
        for elements in [0, 1, 15, 16, 17, 1000, 16_384] {
            let block = ramp(elements);
            let portable = sums::sum_of_squares_portable(&block);
            assert_eq!(sums::sum_of_squares(&block).to_bits(), portable.to_bits(), "{elements} elements");
        }
    }

    #[test]
    fn one_non_finite_element_anywhere_makes_the_norm_non_finite() {
        let mut large = ramp(50_000);
        for position in [0, 15, 16_384, 49_999] {
            let kept = large[position];
            large[position] = f32::NAN;
            assert!(gradient_norm(&[&large]).is_nan());
            large[position] = f32::NEG_INFINITY;
            assert_eq!(gradient_norm(&[&large]), f64::INFINITY);
            large[position] = kept;
        }
        assert!(gradient_norm(&[&[f32::INFINITY], &[f32::NAN]]).is_nan());
    }

    #[test]
    fn norm_of_values_whose_squares_overflow_f32_is_finite() {
        assert!((gradient_norm(&[&[3e38, 0.0]]) / 3e38 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn clipping_never_scales_up() {
        assert_eq!(clip_factor(0.5, 1.0), 1.0);
        assert_eq!(clip_factor(0.0, 1.0), 1.0);
        assert!((clip_factor(4.0, 1.0) - 0.25).abs() < 1e-6);
        assert!(clip_factor(4.0, 1.0) * 4.0 <= 1.0);
        assert!(clip_factor(f64::NAN, 1.0).is_nan());
        assert_eq!(clip_factor(f64::INFINITY, 1.0), 0.0);
    }
}
