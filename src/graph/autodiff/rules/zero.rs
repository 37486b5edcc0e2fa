//! Operators through which no gradient flows, each with its reason.
//!
//! Only those that take floats need a row: truth values and integers carry no gradients to begin with.

use super::{Rule, zero};

const STEPS: &str = "piecewise constant: its derivative is 0 wherever it exists";
const TRUTH: &str = "gives truth values";
const SHAPES: &str = "depends on the shape of its input, not on its values";
const POSITIONS: &str = "gives positions";
const RANDOM: &str = "its values are drawn, only its shape is taken";

pub(super) const RULES: &[Rule] = &[
    zero("Sign", STEPS),
    zero("Floor", STEPS),
    zero("Ceil", STEPS),
    zero("Round", STEPS),
    zero("Equal", TRUTH),
    zero("Greater", TRUTH),
    zero("GreaterOrEqual", TRUTH),
    zero("Less", TRUTH),
    zero("LessOrEqual", TRUTH),
    zero("IsNaN", TRUTH),
    zero("IsInf", TRUTH),
    zero("Shape", SHAPES),
    zero("Size", SHAPES),
    zero("ArgMax", POSITIONS),
    zero("ArgMin", POSITIONS),
    zero("Hardmax", STEPS),
    zero("EyeLike", SHAPES),
    zero("Bernoulli", "its values are drawn, with probabilities that PyTorch gives no gradient")
        .since(15)
        .until(21),
    zero("RandomNormalLike", RANDOM).until(21),
    zero("RandomUniformLike", RANDOM).until(21),
];
