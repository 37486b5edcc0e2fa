//! The losses of the standard.

use super::{Composition, NodeView, Refusal, Rule, composed};
use crate::graph::emit::{Emit, Value};
use crate::graph::loss::MAX_CLASSES;
use crate::graph::tensor::{Tensor, elements};

pub(super) const RULES: &[Rule] = &[
    composed("SoftmaxCrossEntropyLoss", softmax_cross_entropy),
    composed("NegativeLogLikelihoodLoss", negative_log_likelihood),
];

/// loss = -log softmax(x)[label], and the logarithms as second output
fn softmax_cross_entropy(node: &NodeView, emit: &mut Emit) -> Composition {
    let logarithms = emit.log_softmax(node.input(0), 1);
    Ok(vec![Some(loss_of(node, logarithms, emit)?), Some(logarithms)])
}

/// loss = -x[label]
fn negative_log_likelihood(node: &NodeView, emit: &mut Emit) -> Composition {
    Ok(vec![Some(loss_of(node, node.input(0), emit)?)])
}

/// -w[label] x[label], by position, summed, or divided by the sum of the weights; labels that are ignored weigh nothing
fn loss_of(node: &NodeView, x: Value, emit: &mut Emit) -> Result<Value, Refusal> {
    let (labels, weights) = (node.input(1), node.optional_input(2));
    let dims = emit.dims(x).to_vec();
    let classes = dims.get(1).copied().unwrap_or(1);
    if classes > MAX_CLASSES {
        return Err(Refusal(format!("it has {classes} classes, expected at most {MAX_CLASSES}")));
    }
    let mut wide = dims.clone();
    if let Some(axis) = wide.get_mut(1) {
        *axis = 1;
    }
    let per_class: Vec<usize> = (0..dims.len()).map(|axis| if axis == 1 { classes } else { 1 }).collect();
    let positions = emit.dims(labels).to_vec();
    let labels = emit.reshape(labels, &wide);
    let order: Vec<f64> = (0..classes).map(|class| class as f64).collect();
    let order = emit.constant(Tensor::from_f64(emit.dtype(labels), per_class.clone(), &order));
    let mut chosen = emit.equal(labels, order);
    let counted = node.node.int("ignore_index").map(|ignored| {
        let ignored = emit.constant(Tensor::from_f64(emit.dtype(labels), vec![], &[ignored as f64]));
        let is_ignored = emit.equal(labels, ignored);
        emit.not(is_ignored)
    });
    if let Some(counted) = counted {
        chosen = emit.and(chosen, counted);
    }
    let weights = weights.map(|weights| emit.reshape(weights, &per_class));
    let weighted = weights.map_or(x, |weights| emit.mul(x, weights));
    // Chosen, not multiplied by 0 and 1: a class of probability 0 would give NaN.
    let picked = emit.keep_where(chosen, weighted);
    let negative = emit.neg(picked);
    match node.node.string("reduction").unwrap_or("mean") {
        "none" => {
            let losses = emit.reduce_sum(negative, &[1]);
            Ok(emit.reshape(losses, &positions))
        }
        "sum" => Ok(emit.sum_all(negative)),
        "mean" => {
            let sum = emit.sum_all(negative);
            let weight = match (weights, counted) {
                (None, None) => emit.scalar(elements(&positions) as f64, x),
                (None, Some(counted)) => {
                    let ones = emit.cast(counted, emit.dtype(x));
                    emit.sum_all(ones)
                }
                (Some(weights), _) => {
                    let of_labels = emit.keep_where(chosen, weights);
                    emit.sum_all(of_labels)
                }
            };
            Ok(emit.div(sum, weight))
        }
        other => Err(Refusal(format!("attribute `reduction` is `{other}`, expected none, sum or mean"))),
    }
}
