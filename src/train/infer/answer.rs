//! What is made of an output: the numbers themselves, the class, or probabilities.

use crate::config::{LossKind, LossPlan};
use crate::graph::tensor::{Dtype, Tensor, elements};
use crate::train::metric::{largest, log_softmax};
use thiserror::Error;

/// What is made of each output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Its numbers.
    Outputs,
    /// The number of the class with the largest value, or 0 and 1 for no and yes.
    Argmax,
    /// Probabilities, by the loss that the model was trained with.
    Probabilities,
}

/// Why an output has no such answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// No axis of classes.
    #[error(
        "output `{output}` has the shape {dims:?} and no axis {axis} of classes; leave `--argmax` and `--probabilities` out, or name \
         another output with `--output-names`"
    )]
    NoClasses {
        /// The output.
        output: String,
        /// Its shape for a batch.
        dims: Vec<usize>,
        /// The axis by `loss.class_axis`.
        axis: i64,
    },
    /// A number that is an answer by itself.
    #[error(
        "output `{output}` is one number for each example, and a model trained with the loss {loss} answers with that number and no \
         class; leave `--argmax` out"
    )]
    OneNumber {
        /// The output.
        output: String,
        /// The loss.
        loss: &'static str,
    },
    /// A loss that says nothing of probabilities.
    #[error(
        "the outputs of a model trained with the loss {loss} are no probabilities; leave `--probabilities` out"
    )]
    NoProbabilities {
        /// The loss.
        loss: &'static str,
    },
    /// Not floats.
    #[error("output `{output}` holds {found}, expected floats; leave `--argmax` and `--probabilities` out")]
    NotFloats {
        /// The output.
        output: String,
        /// Its type.
        found: Dtype,
    },
}

/// The answer that an output gives.
///
/// # Errors
/// If it gives none of this kind.
pub(super) fn answer(
    what: Answer,
    loss: &LossPlan,
    name: &str,
    output: Tensor,
) -> Result<Tensor, AnswerError> {
    let numbers = || {
        let numbers =
            output.to_f64().map(|numbers| numbers.into_iter().map(|number| number as f32).collect());
        let found = output.dtype();
        numbers.ok_or_else(|| AnswerError::NotFloats { output: name.to_owned(), found })
    };
    match what {
        Answer::Outputs => Ok(output),
        Answer::Argmax => {
            let numbers: Vec<f32> = numbers()?;
            argmax(loss, name, output.dims(), &numbers)
        }
        Answer::Probabilities => {
            let numbers: Vec<f32> = numbers()?;
            probabilities(loss, name, output.dims(), &numbers)
        }
    }
}

/// Where the classes lie: elements before their axis, classes, elements behind it.
struct Classes {
    axis: usize,
    outer: usize,
    count: usize,
    inner: usize,
}

impl Classes {
    fn of(loss: &LossPlan, name: &str, dims: &[usize]) -> Result<Self, AnswerError> {
        let refused =
            || AnswerError::NoClasses { output: name.to_owned(), dims: dims.to_vec(), axis: loss.class_axis };
        let from_end = if loss.class_axis < 0 { dims.len() as i64 } else { 0 };
        let axis =
            usize::try_from(loss.class_axis + from_end).ok().filter(|axis| *axis > 0).ok_or_else(refused)?;
        let count = dims.get(axis).copied().filter(|count| *count > 1).ok_or_else(refused)?;
        let (outer, inner) = (dims.iter().take(axis), dims.iter().skip(axis + 1));
        let product = |axes: Vec<usize>| elements(&axes);
        Ok(Self {
            axis,
            outer: product(outer.copied().collect()),
            count,
            inner: product(inner.copied().collect()),
        })
    }

    /// The values of the classes at each position, in row-major order of the positions.
    fn at_each<'a>(
        &self,
        numbers: &'a [f32],
    ) -> impl Iterator<Item = impl Iterator<Item = f32> + Clone + 'a> {
        let (count, inner) = (self.count, self.inner);
        (0..self.outer * inner).map(move |position| {
            let first = position / inner * count * inner + position % inner;
            numbers.iter().copied().skip(first).step_by(inner).take(count)
        })
    }
}

/// Whether there is one number for each example.
fn is_single(dims: &[usize]) -> bool {
    elements(dims.get(1..).unwrap_or_default()) == 1
}

/// Whether each number is a question of its own: above this it says yes.
fn threshold(loss: &LossPlan, dims: &[usize]) -> Option<f32> {
    match loss.kind {
        LossKind::Bce => Some(0.5),
        LossKind::BceWithLogits => Some(0.0),
        // A single logit for each example.
        _ if is_single(dims) => Some(0.0),
        _ => None,
    }
}

/// -1 where a value is no number.
fn argmax(loss: &LossPlan, name: &str, dims: &[usize], numbers: &[f32]) -> Result<Tensor, AnswerError> {
    let is_distance = matches!(
        loss.kind,
        LossKind::Mse | LossKind::L1 | LossKind::Huber { .. } | LossKind::SmoothL1 { .. }
    );
    if is_distance && is_single(dims) {
        return Err(AnswerError::OneNumber { output: name.to_owned(), loss: loss.kind.name() });
    }
    if let Some(threshold) = threshold(loss, dims) {
        let is_yes = |number: &f32| if number.is_nan() { -1 } else { i64::from(*number > threshold) };
        let answers: Vec<i64> = numbers.iter().map(is_yes).collect();
        let dims = if is_single(dims) { dims.get(..1) } else { Some(dims) };
        return Ok(Tensor::from_i64(dims.unwrap_or_default(), &answers));
    }
    let classes = Classes::of(loss, name, dims)?;
    let class = |values| largest(values).and_then(|class| i64::try_from(class).ok()).unwrap_or(-1);
    let answers: Vec<i64> = classes.at_each(numbers).map(class).collect();
    let mut positions = dims.to_vec();
    positions.remove(classes.axis);
    Ok(Tensor::from_i64(positions, &answers))
}

fn probabilities(
    loss: &LossPlan,
    name: &str,
    dims: &[usize],
    numbers: &[f32],
) -> Result<Tensor, AnswerError> {
    let mapped = |of: &dyn Fn(f64) -> f64| {
        let values: Vec<f32> = numbers.iter().map(|number| of(f64::from(*number)) as f32).collect();
        Ok(Tensor::from_f32(dims, &values))
    };
    match loss.kind {
        LossKind::Bce => mapped(&|number| number),
        LossKind::BceWithLogits => mapped(&|number| 1.0 / (1.0 + (-number).exp())),
        LossKind::Nll | LossKind::KlDiv { .. } => mapped(&f64::exp),
        LossKind::CrossEntropy => {
            let classes = Classes::of(loss, name, dims)?;
            let mut values = vec![0.0_f32; numbers.len()];
            for (position, logits) in classes.at_each(numbers).enumerate() {
                let (outer, inner) = (position / classes.inner, position % classes.inner);
                let first = outer * classes.count * classes.inner + inner;
                let slots = values.iter_mut().skip(first).step_by(classes.inner);
                slots.zip(log_softmax(logits)).for_each(|(slot, log)| *slot = log.exp() as f32);
            }
            Ok(Tensor::from_f32(dims, &values))
        }
        ref other => Err(AnswerError::NoProbabilities { loss: other.name() }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, answer};
    use crate::config::{LossKind, LossPlan};
    use crate::graph::tensor::Tensor;

    fn loss(kind: LossKind, class_axis: i64) -> LossPlan {
        LossPlan { class_axis, ..LossPlan::new(kind) }
    }

    #[track_caller]
    fn check_argmax(
        loss: &LossPlan,
        dims: &[usize],
        numbers: &[f32],
        expected_dims: &[usize],
        expected: &[i64],
    ) {
        let found = answer(Answer::Argmax, loss, "y", Tensor::from_f32(dims, numbers)).unwrap();
        assert_eq!((found.dims(), found.to_i64().unwrap().as_slice()), (expected_dims, expected));
    }

    #[test]
    fn the_class_is_the_first_with_the_largest_value_on_the_axis_of_classes() {
        let numbers = [1.0, 3.0, 3.0, -1.0, f32::NAN, 0.0];
        check_argmax(&loss(LossKind::CrossEntropy, 1), &[2, 3], &numbers, &[2], &[1, -1]);
        let numbers = [0.0, 5.0, 1.0, 2.0, 9.0, -1.0];
        check_argmax(&loss(LossKind::CrossEntropy, 1), &[1, 3, 2], &numbers, &[1, 2], &[2, 0]);
        check_argmax(&loss(LossKind::CrossEntropy, -1), &[1, 3, 2], &numbers, &[1, 3], &[1, 1, 0]);
    }

    #[test]
    fn a_question_is_answered_with_yes_above_its_threshold() {
        check_argmax(&loss(LossKind::BceWithLogits, 1), &[3, 1], &[0.1, -0.1, f32::NAN], &[3], &[1, 0, -1]);
        check_argmax(&loss(LossKind::Bce, 1), &[1, 2], &[0.4, 0.6], &[1, 2], &[0, 1]);
        check_argmax(&loss(LossKind::CrossEntropy, 1), &[2], &[0.4, -0.6], &[2], &[1, 0]);
    }

    #[test]
    fn the_number_of_a_regression_is_no_class_and_one_of_several_is() {
        let one =
            answer(Answer::Argmax, &loss(LossKind::Mse, 1), "y", Tensor::from_f32([2, 1], &[7.5, -1.0]));
        let message = one.unwrap_err().to_string();
        assert!(message.contains("trained with the loss mse") && message.contains("`--argmax`"), "{message}");
        check_argmax(&loss(LossKind::Mse, 1), &[1, 3], &[0.1, 0.2, 0.9], &[1], &[2]);
    }

    #[test]
    fn probabilities_follow_from_the_loss() {
        let of = |kind, dims: &[usize], numbers: &[f32]| {
            let output = Tensor::from_f32(dims, numbers);
            answer(Answer::Probabilities, &loss(kind, 1), "y", output).map(|found| found.to_f32().unwrap())
        };
        assert_eq!(
            of(LossKind::CrossEntropy, &[1, 2, 2], &[0.0, 1e3, 0.0, 0.0]).unwrap(),
            [0.5, 1.0, 0.5, 0.0]
        );
        assert_eq!(of(LossKind::BceWithLogits, &[2, 1], &[0.0, 1e3]).unwrap(), [0.5, 1.0]);
        assert_eq!(of(LossKind::Nll, &[1, 2], &[0.0, f32::NEG_INFINITY]).unwrap(), [1.0, 0.0]);
        assert_eq!(of(LossKind::Bce, &[2], &[0.25, 0.5]).unwrap(), [0.25, 0.5]);
        assert!(of(LossKind::Mse, &[2], &[0.25, 0.5]).unwrap_err().to_string().contains("mse"));
        assert!(
            of(LossKind::CrossEntropy, &[2], &[0.25, 0.5]).unwrap_err().to_string().contains("no axis 1")
        );
    }
}
