//! Operators that pass values on, and those that are rewritten before gradients are taken.

use super::{NodeView, Rule, Ruled, one, refused, rule};
use crate::graph::emit::Emit;

pub(super) const RULES: &[Rule] = &[
    rule("Identity", identity),
    rule("Cast", cast),
    refused("If", "branches that do not fold to constants are not differentiated"),
    refused("Loop", "loops that do not fold to constants are not differentiated"),
    refused("Scan", "scans that do not fold to constants are not differentiated"),
    refused("Dropout", "its ratio is computed, expected a constant"),
];

/// y = x   gives   dx = dy
fn identity(node: &NodeView, _: &mut Emit) -> Ruled {
    one(node.dy())
}

/// y = x in another type   gives   dx = dy in the type of x
fn cast(node: &NodeView, emit: &mut Emit) -> Ruled {
    let dtype = emit.dtype(node.input(0));
    one(emit.cast(node.dy(), dtype))
}
