//! Two forms of a model on the same examples.

use crate::data::HostArray;
use crate::engine::error::EngineError;
use crate::engine::inference::Inference;
use crate::engine::library::Runtime;
use crate::engine::session::Place;
use crate::graph::model::Graph;
use crate::graph::tensor::Tensor;

/// How two forms of a model compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Examples.
    pub examples: usize,
    /// Where they are from, in words.
    pub data: &'static str,
    /// Each output.
    pub outputs: Vec<OutputDifference>,
}

/// How an output compares.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputDifference {
    /// The output.
    pub name: String,
    /// The largest absolute difference; NaN where shapes differ, or a number is finite in one form alone.
    pub difference: f64,
    /// The largest absolute value of the first form.
    pub largest: f64,
}

/// Runs both on the same arrays.
///
/// # Errors
/// If ONNX Runtime does not run one of them.
pub(super) fn compare(
    first: &Graph,
    second: &Graph,
    arrays: &[(String, HostArray)],
    runtime: &Runtime,
    place: Place,
) -> Result<Compared, EngineError> {
    let inputs: Vec<(&str, &HostArray)> = arrays.iter().map(|(name, array)| (name.as_str(), array)).collect();
    let answers = |graph: &Graph| Inference::open(runtime, place, graph)?.run(&inputs);
    let (expected, found) = (answers(first)?, answers(second)?);
    let outputs = first.outputs.iter().zip(expected.iter().zip(&found)).map(|(port, (expected, found))| {
        let (difference, largest) = difference(expected, found);
        OutputDifference { name: port.name.clone(), difference, largest }
    });
    Ok(Compared { examples: 0, data: "", outputs: outputs.collect() })
}

/// The largest difference, and the largest value of the first.
fn difference(expected: &Tensor, found: &Tensor) -> (f64, f64) {
    let numbers = |tensor: &Tensor| {
        let whole = || Some(tensor.to_i64()?.into_iter().map(|number| number as f64).collect());
        tensor
            .to_f64()
            .or_else(whole)
            .unwrap_or_else(|| tensor.bytes().iter().copied().map(f64::from).collect())
    };
    let (first, second) = (numbers(expected), numbers(found));
    let largest = first.iter().copied().filter(|number| number.is_finite()).map(f64::abs).fold(0.0, f64::max);
    if expected.kind() != found.kind() {
        return (f64::NAN, largest);
    }
    let mut most = 0.0_f64;
    for (first, second) in first.iter().zip(&second) {
        let difference = (first - second).abs();
        // Equal infinities, and no number in both, are no difference.
        let is_same = first == second || (first.is_nan() && second.is_nan());
        if !is_same && !difference.is_finite() {
            return (f64::NAN, largest);
        }
        most = if is_same { most } else { most.max(difference) };
    }
    (most, largest)
}

#[cfg(test)]
mod tests {
    use super::difference;
    use crate::graph::tensor::Tensor;

    #[test]
    fn a_number_that_is_finite_in_one_form_alone_is_a_difference_beyond_any() {
        let of = |first: &[f32], second: &[f32]| {
            difference(&Tensor::from_f32([first.len()], first), &Tensor::from_f32([second.len()], second))
        };
        assert_eq!(of(&[1.0, -3.0], &[1.5, -3.25]), (0.5, 3.0));
        assert_eq!(of(&[f32::INFINITY, f32::NAN, 2.0], &[f32::INFINITY, f32::NAN, 2.0]), (0.0, 2.0));
        assert!(of(&[1.0], &[f32::INFINITY]).0.is_nan() && of(&[f32::NAN], &[1.0]).0.is_nan());
        assert!(of(&[1.0], &[1.0, 2.0]).0.is_nan());
        let (whole, other) = (Tensor::from_i64([2], &[3, 7]), Tensor::from_i64([2], &[3, 5]));
        assert_eq!(difference(&whole, &other), (2.0, 7.0));
    }
}
