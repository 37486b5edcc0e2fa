//! What changed in the operators of the standard domain between opset 13 and 26, by their definitions in ONNX 1.23.
//!
//! A version that only takes further element types means the same and is not listed. Everything else is, one row per
//! operator and version.

/// Operators that were there at opset 13.
const SINCE_13: &str = "\
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift Cast Ceil \
    Celu Clip Compress Concat ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh \
    CumSum DepthToSpace Det Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather \
    GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual HardSigmoid \
    Hardmax Identity If InstanceNormalization IsInf IsNaN LRN LSTM LeakyRelu Less LessOrEqual Log LogSoftmax Loop \
    LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxUnpool Mean MeanVarianceNormalization Min Mod Mul \
    Multinomial Neg NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow RNN \
    RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal \
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum \
    ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round Scan ScatterElements ScatterND Selu \
    SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Shrink Sigmoid \
    Sign Sin Sinh Size Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split SplitToSequence \
    Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Unique Unsqueeze Where Xor";

/// Operators that came later, with the opset they came with.
const LATER: &[(&str, i64)] = &[
    ("AffineGrid", 20),
    ("Attention", 23),
    ("Bernoulli", 15),
    ("BitCast", 26),
    ("BitwiseAnd", 18),
    ("BitwiseNot", 18),
    ("BitwiseOr", 18),
    ("BitwiseXor", 18),
    ("CastLike", 15),
    ("CenterCropPad", 18),
    ("Col2Im", 18),
    ("CumProd", 26),
    ("DFT", 17),
    ("DeformConv", 19),
    ("Gelu", 20),
    ("GridSample", 16),
    ("GroupNormalization", 18),
    ("HardSwish", 14),
    ("LayerNormalization", 17),
    ("Mish", 18),
    ("RMSNormalization", 23),
    ("RotaryEmbedding", 23),
    ("Swish", 24),
    ("TensorScatter", 24),
    ("Trilu", 14),
];

/// The value of an attribute that means what was meant before there was the attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Absent {
    /// This integer.
    Int(i64),
    /// This text.
    Text(&'static str),
    /// Only to leave it away.
    Nothing,
}

/// What a version changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    /// There is an attribute more.
    Attribute(&'static str, Absent),
    /// There are inputs behind so many.
    Inputs(usize),
    /// The attribute has further values.
    Values(&'static str, &'static [&'static str]),
    /// Nodes mean the same only if this integer attribute is 0 or left away.
    UnlessZero(&'static str),
    /// Nodes mean the same only if this text attribute is the one given or left away.
    UnlessText(&'static str, &'static str),
    /// The attribute `axes` became the second input.
    AxesBecameInput,
    /// Without sizes, the number of parts is stated.
    PartsAreCounted,
    /// It means something else, for this reason.
    Meaning(&'static str),
}

const REDUCED: [&str; 9] = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
];

const CHANGES: &[(&str, i64, Change)] = &[
    ("Attention", 24, Change::Meaning("its masks and caches were defined anew")),
    ("Attention", 25, Change::Meaning("its windows were defined anew")),
    ("AveragePool", 19, Change::Attribute("dilations", Absent::Nothing)),
    ("AveragePool", 19, Change::UnlessZero("ceil_mode")),
    ("AveragePool", 19, Change::UnlessText("auto_pad", "NOTSET")),
    ("AveragePool", 22, Change::UnlessZero("ceil_mode")),
    ("BatchNormalization", 14, Change::UnlessZero("training_mode")),
    ("Cast", 19, Change::Attribute("saturate", Absent::Int(1))),
    ("Cast", 24, Change::Attribute("round_mode", Absent::Text("up"))),
    ("CastLike", 19, Change::Attribute("saturate", Absent::Int(1))),
    ("CastLike", 24, Change::Attribute("round_mode", Absent::Text("up"))),
    ("DFT", 20, Change::Meaning("its axis became an input")),
    ("GRU", 14, Change::Attribute("layout", Absent::Int(0))),
    ("GridSample", 20, Change::Meaning("its modes have other names")),
    ("GroupNormalization", 21, Change::Meaning("it scales channels and no longer groups")),
    ("LSTM", 14, Change::Attribute("layout", Absent::Int(0))),
    ("LpPool", 18, Change::Attribute("ceil_mode", Absent::Int(0))),
    ("LpPool", 18, Change::Attribute("dilations", Absent::Nothing)),
    ("LpPool", 18, Change::UnlessText("auto_pad", "NOTSET")),
    ("MaxPool", 22, Change::UnlessZero("ceil_mode")),
    ("Pad", 18, Change::Inputs(3)),
    ("Pad", 19, Change::Values("mode", &["wrap"])),
    ("RNN", 14, Change::Attribute("layout", Absent::Int(0))),
    ("Reshape", 14, Change::Attribute("allowzero", Absent::Int(0))),
    ("Resize", 18, Change::Attribute("antialias", Absent::Int(0))),
    ("Resize", 18, Change::Attribute("axes", Absent::Nothing)),
    ("Resize", 18, Change::Attribute("keep_aspect_ratio_policy", Absent::Text("stretch"))),
    ("Resize", 19, Change::Values("coordinate_transformation_mode", &["half_pixel_symmetric"])),
    ("RoiAlign", 16, Change::Meaning("its coordinates are shifted by half a pixel")),
    ("ScatterElements", 16, Change::Attribute("reduction", Absent::Text("none"))),
    ("ScatterElements", 18, Change::Values("reduction", &["max", "min"])),
    ("ScatterND", 16, Change::Attribute("reduction", Absent::Text("none"))),
    ("ScatterND", 18, Change::Values("reduction", &["max", "min"])),
    ("Shape", 15, Change::Attribute("end", Absent::Nothing)),
    ("Shape", 15, Change::Attribute("start", Absent::Int(0))),
    ("Split", 18, Change::PartsAreCounted),
];

/// The opset that an operator came with, 13 for all older ones; `None` for one that this table does not have.
pub(super) fn since(op: &str) -> Option<i64> {
    let later = LATER.iter().find(|(name, _)| *name == op).map(|(_, since)| *since);
    later.or_else(|| SINCE_13.split_whitespace().any(|name| name == op).then_some(13))
}

/// What versions above `from` and up to `to` changed in an operator.
pub(super) fn changes(op: &str, from: i64, to: i64) -> Vec<(i64, Change)> {
    let is_between = |version: i64| from < version && version <= to;
    let listed = CHANGES.iter().filter(|(name, version, _)| *name == op && is_between(*version));
    let mut found: Vec<(i64, Change)> = listed.map(|(_, version, change)| (*version, *change)).collect();
    if REDUCED.contains(&op) && is_between(18) {
        found.push((18, Change::AxesBecameInput));
    }
    found
}

/// The oldest version of the format that has an opset, by the releases of ONNX: readers of that time take no newer one.
pub(super) fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}
