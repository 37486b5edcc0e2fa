//! What a check found, in the form in which programs read it; `docs/check.md` explains the fields.

use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything found. All fields are always there, `null` or empty where there is nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether the model can be trained here.
    pub trainable: bool,
    /// The file.
    pub file: FileReport,
    /// The model's inputs.
    pub inputs: Vec<PortReport>,
    /// The model's outputs.
    pub outputs: Vec<PortReport>,
    /// Dimensions whose size the file leaves open.
    pub free_dimensions: Vec<DimensionReport>,
    /// What is trained.
    pub parameters: ParametersReport,
    /// The operators, the most frequent first.
    pub operators: Vec<OperatorReport>,
    /// Why it can not be trained.
    pub problems: Vec<ProblemReport>,
    /// What to know beforehand.
    pub warnings: Vec<WarningReport>,
    /// What the first output that fits could be trained for.
    pub suggestion: Option<SuggestionReport>,
    /// The loss that the check was made with.
    pub loss: String,
    /// What a step takes.
    pub memory: MemoryReport,
}

/// The file and what it says about itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its size, without external data.
    pub bytes: usize,
    /// Version of the format.
    pub ir_version: i64,
    /// Version of the default operator set.
    pub opset: i64,
    /// Versions of the others, by domain.
    pub other_opsets: BTreeMap<String, i64>,
    /// Name and version of the program that wrote it.
    pub producer: Option<String>,
    /// Functions local to the model.
    pub functions: Vec<String>,
}

/// A size, a symbolic name, or `null` for a size that is free and has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum DimReport {
    /// A size.
    Size(usize),
    /// A symbolic name.
    Symbol(String),
    /// Free.
    Free(Option<()>),
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PortReport {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: Option<String>,
    /// Its dimensions; `null` if not even their number is known.
    pub shape: Option<Vec<DimReport>>,
}

/// A dimension whose size the file leaves open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DimensionReport {
    /// Its symbolic name, or input and axis, as `x[2]`.
    pub name: String,
    /// Whether it counts the examples.
    pub is_batch: bool,
    /// The size that it was given for the check; `null` for the batch.
    pub size: Option<usize>,
    /// Whether that size was assumed, and not taken from the settings.
    pub is_assumed: bool,
}

/// What is trained and what is not.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ParametersReport {
    /// Values that are trained.
    pub elements: usize,
    /// Tensors that are trained.
    pub trained: Vec<TensorReport>,
    /// Running statistics, which steps update.
    pub statistics: Vec<TensorReport>,
    /// Float tensors that stay as they are.
    pub not_trained: Vec<ExcludedReport>,
    /// Trained ones that only operators without a gradient connect to the loss: they will not change.
    pub without_gradient: Vec<String>,
    /// Trained ones that no layer reads as its weight: parameters of their own, or tables.
    pub doubtful: Vec<String>,
    /// Tensors of integers and truth values with one axis or more.
    pub tables: Vec<TensorReport>,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
}

/// A float tensor that is not trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExcludedReport {
    /// Its name.
    pub name: String,
    /// `frozen`, `scalar`, `setting`, `no_path_to_loss`, or its element type.
    pub reason: String,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperatorReport {
    /// Its name, with the domain outside the standard one.
    pub op: String,
    /// Nodes of it.
    pub nodes: usize,
    /// `rule`, `composed`, `zero`, `refused` or `missing`.
    pub gradient: &'static str,
}

/// Why a model can not be trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProblemReport {
    /// `inputs`, `settings`, `parameters`, `not_finite`, `operators`, `shapes`, `onnxruntime`, `loss`, `batch`, `output` or
    /// `session`.
    pub kind: &'static str,
    /// Found, expected and remedy.
    pub message: String,
    /// The nodes concerned, where the problem is about nodes.
    pub nodes: Vec<NodeReport>,
}

/// A node that can not be differentiated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// Why.
    pub reason: String,
}

/// What to know before training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WarningReport {
    /// What it is about.
    pub kind: &'static str,
    /// Found, meaning and remedy.
    pub message: String,
}

/// What an output could be trained for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SuggestionReport {
    /// `loss.kind`.
    pub loss: &'static str,
    /// `loss.output`; `null` if the model has one output.
    pub output: Option<String>,
    /// `loss.class_axis`.
    pub class_axis: i64,
    /// `metrics`.
    pub metrics: Vec<String>,
    /// What the target holds.
    pub target: Option<String>,
    /// What of the output says so.
    pub reason: String,
    /// What else it could be, or what is in the way.
    pub note: Option<&'static str>,
    /// Lines for `trainer.toml`.
    pub toml: String,
}

/// What a training takes, in bytes, estimated from shapes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemoryReport {
    /// `optimizer.kind` and the rest of its settings decide what is kept for a parameter.
    pub parameters_bytes: usize,
    /// One gradient per parameter.
    pub gradients_bytes: usize,
    /// What the optimizer keeps, moving averages and running statistics.
    pub optimizer_bytes: usize,
    /// A second set of parameters and optimizer state, while a checkpoint is written.
    pub spare_bytes: usize,
    /// What depends on the number of examples that are computed at once.
    pub batches: Vec<BatchReport>,
}

/// A step with so many examples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchReport {
    /// Examples that are computed at once: `train.micro_batch`, or `train.batch_size`.
    pub batch: usize,
    /// The data and masks of the batch, and constants.
    pub batch_bytes: Option<usize>,
    /// The most values between inputs and outputs that live at once.
    pub activation_bytes: Option<usize>,
    /// With parameters, gradients, optimizer and its spare set.
    pub total_bytes: Option<usize>,
    /// Why the model does not take so many.
    pub problem: Option<String>,
}
