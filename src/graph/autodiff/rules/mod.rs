//! The table of gradient rules: one file per family of operators, one row per operator and range of opsets.
//!
//! A rule is a plain function under a one-line formula. It returns one slot per input of the node; the driver sums a
//! gradient that was broadcast down to the shape of its input, so rules do not care about broadcasting. An operator that
//! is a formula over others is not given a gradient but written out: a composition returns one slot per output, and the
//! operators in it have the rules.

mod activation;
mod arithmetic;
mod attention;
mod batch_normalization;
mod columns;
mod conv;
mod einsum;
mod exponential;
mod grid_sample;
mod indexing;
mod loss;
mod matrix;
mod normalization;
mod pad;
mod pool;
mod recurrent;
mod reduction;
mod resize;
mod shape;
mod structural;
mod trigonometric;
mod zero;

use super::view::{NodeView, from_front};
use crate::graph::emit::{Emit, Value};
use crate::graph::model::Node;

/// One gradient per input, `None` where it is not needed or is zero.
pub type InputGrads = Vec<Option<Value>>;

/// Why a rule does not cover a node: which attribute or input, found, expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

/// What a rule gives.
pub type Ruled = Result<InputGrads, Refusal>;

/// What a composition gives: one value per output of the node, `None` for an output that the node does not have.
pub type Composition = Result<Vec<Option<Value>>, Refusal>;

/// How an operator is differentiated.
#[derive(Debug, Clone, Copy)]
pub enum Gradient {
    /// By this function.
    Rule(fn(&NodeView, &mut Emit) -> Ruled),
    /// By the operators that this function puts in its place.
    Composed(fn(&NodeView, &mut Emit) -> Composition),
    /// No gradient flows through it, for this reason.
    Zero(&'static str),
    /// It is deliberately not differentiated, for this reason.
    Refused(&'static str),
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Operator of the standard domain.
    pub op: &'static str,
    /// First opset the row is right for.
    pub since: i64,
    /// Last opset the row is right for; `None` means up to now.
    pub until: Option<i64>,
    /// Whether outputs beyond the first have gradients, too.
    pub all_outputs: bool,
    /// The rule itself.
    pub gradient: Gradient,
    /// Operators that are put in the place of a node that they make faster, before gradients are taken; it gives a
    /// refusal for the others, which the rule is for.
    pub faster: Option<fn(&NodeView, &mut Emit) -> Composition>,
}

const fn rule(op: &'static str, derive: fn(&NodeView, &mut Emit) -> Ruled) -> Rule {
    Rule { op, since: 13, until: None, all_outputs: false, gradient: Gradient::Rule(derive), faster: None }
}

const fn composed(op: &'static str, build: fn(&NodeView, &mut Emit) -> Composition) -> Rule {
    Rule { op, since: 13, until: None, all_outputs: true, gradient: Gradient::Composed(build), faster: None }
}

const fn zero(op: &'static str, reason: &'static str) -> Rule {
    Rule { op, since: 13, until: None, all_outputs: false, gradient: Gradient::Zero(reason), faster: None }
}

const fn refused(op: &'static str, reason: &'static str) -> Rule {
    Rule { op, since: 13, until: None, all_outputs: false, gradient: Gradient::Refused(reason), faster: None }
}

impl Rule {
    const fn since(mut self, opset: i64) -> Self {
        self.since = opset;
        self
    }

    const fn until(mut self, opset: i64) -> Self {
        self.until = Some(opset);
        self
    }

    const fn for_all_outputs(mut self) -> Self {
        self.all_outputs = true;
        self
    }

    const fn faster_as(mut self, build: fn(&NodeView, &mut Emit) -> Composition) -> Self {
        self.faster = Some(build);
        self
    }

    /// Whether the row is about this operator in this opset.
    #[must_use]
    pub fn covers(&self, op: &str, opset: i64) -> bool {
        self.op == op && self.since <= opset && self.until.is_none_or(|until| opset <= until)
    }
}

const FAMILIES: &[&[Rule]] = &[
    arithmetic::RULES,
    exponential::RULES,
    trigonometric::RULES,
    activation::RULES,
    matrix::RULES,
    einsum::RULES,
    attention::RULES,
    conv::RULES,
    columns::RULES,
    pool::RULES,
    pad::RULES,
    resize::RULES,
    recurrent::RULES,
    batch_normalization::RULES,
    normalization::RULES,
    reduction::RULES,
    shape::RULES,
    grid_sample::RULES,
    indexing::RULES,
    loss::RULES,
    structural::RULES,
    zero::RULES,
];

/// All rows.
pub fn table() -> impl Iterator<Item = &'static Rule> {
    FAMILIES.iter().copied().flatten()
}

/// The row for a node, if there is one. Only operators of the standard domain have rows.
#[must_use]
pub fn find(node: &Node, opset: i64) -> Option<&'static Rule> {
    node.domain.is_empty().then(|| table().find(|rule| rule.covers(&node.op, opset))).flatten()
}

fn one(grad: Value) -> Ruled {
    Ok(vec![Some(grad)])
}
