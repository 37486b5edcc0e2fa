//! The answers of a trained model to examples without targets, batch by batch.

use super::answer::{Answer, AnswerError, answer};
use super::write::{WriteError, Writer};
use crate::config::{DataPlan, LossPlan, Plan};
use crate::data::{Feed, HostArray, Role, Unlabelled, UnlabelledError};
use crate::engine::error::EngineError;
use crate::engine::inference::Inference;
use crate::engine::library::Runtime;
use crate::engine::session::Place;
use crate::graph::model::{Dim, Graph, Node, Port};
use crate::graph::step::loss_output;
use crate::graph::tensor::{Dtype, Tensor, ValueType};
use crate::train::compile::stored_dtype;
use std::collections::HashSet;
use std::path::Path;
use thiserror::Error;

/// Why a model does not answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PredictError {
    /// The examples.
    #[error(transparent)]
    Examples(Box<UnlabelledError>),
    /// ONNX Runtime.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The file of the answers.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// No such answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// An output that the model does not have.
    #[error("the model has no output `{name}`; it has {available}: correct `--output-names`")]
    NoSuchOutput {
        /// What was asked for.
        name: String,
        /// What there is.
        available: String,
    },
    /// Several outputs, of which one is to be answered from.
    #[error(
        "the model has the outputs {available}; say with `--output-names` which of them the classes are read from"
    )]
    SeveralOutputs {
        /// What there is.
        available: String,
    },
    /// An output without a row per example.
    #[error(
        "output `{output}` has the shape {dims:?} for {examples} examples, expected a row for each; leave it out: name the others with \
         `--output-names`"
    )]
    NotPerExample {
        /// The output.
        output: String,
        /// Its shape.
        dims: Vec<usize>,
        /// The examples.
        examples: usize,
    },
}

impl From<UnlabelledError> for PredictError {
    fn from(error: UnlabelledError) -> Self {
        Self::Examples(Box::new(error))
    }
}

/// One answer to each example of a batch: its axis 0 counts them.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Name of the array or column.
    pub name: String,
    /// The numbers.
    pub tensor: Tensor,
}

/// A model that is ready to answer.
#[derive(Debug)]
pub struct Predictor {
    inference: Inference,
    feeds: Vec<Feed>,
    /// Output of the model and name of the answer.
    outputs: Vec<(String, String)>,
    answer: Answer,
    loss: LossPlan,
    data: DataPlan,
    /// The batch that the model takes, if it takes no other.
    fixed_batch: Option<usize>,
}

impl Predictor {
    /// Compiles a model in its inference form, with the values it is to compute with. `wanted` are outputs of the model;
    /// none means all, or, for classes and probabilities, that of the loss.
    ///
    /// # Errors
    /// If there is no such output, or ONNX Runtime does not accept the model.
    pub fn open(
        mut graph: Graph,
        plan: &Plan,
        wanted: &[String],
        answer: Answer,
        runtime: &Runtime,
        place: Place,
    ) -> Result<Self, PredictError> {
        let wanted = outputs(&graph, &plan.loss, wanted, answer)?;
        let port = |name: &String| graph.outputs.iter().find(|port| port.name == *name).cloned();
        graph.outputs = wanted.iter().filter_map(port).collect();
        keep_needed(&mut graph);
        let named = |(position, name): (usize, &String)| {
            let named = match (answer, wanted.len()) {
                (Answer::Outputs, _) => name.clone(),
                (Answer::Argmax, 1) => "prediction".to_owned(),
                (Answer::Argmax, _) => format!("{name}_prediction"),
                (Answer::Probabilities, 1) => "probability".to_owned(),
                (Answer::Probabilities, _) => format!("{name}_probability"),
            };
            (graph.outputs.get(position).map_or(name.clone(), |port| port.name.clone()), named)
        };
        Ok(Self {
            outputs: wanted.iter().enumerate().map(named).collect(),
            feeds: graph.inputs.iter().map(|port| feed(port, plan)).collect(),
            fixed_batch: graph.inputs.iter().find_map(|port| match port.dims.as_ref()?.first()? {
                Dim::Fixed(size) => Some(*size),
                _ => None,
            }),
            inference: Inference::open(runtime, place, &graph)?,
            answer,
            loss: plan.loss.clone(),
            data: plan.data.clone(),
        })
    }

    /// Opens examples for the inputs of the model, named and scaled as the settings say.
    ///
    /// # Errors
    /// If something is missing, or does not fit.
    pub fn examples(&self, path: &Path) -> Result<Unlabelled, PredictError> {
        Ok(Unlabelled::open(path, &self.data, &self.feeds)?)
    }

    /// Names of the answers.
    pub fn answers(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(|(_, name)| name.as_str())
    }

    /// The batch that the model takes, if it takes no other.
    #[must_use]
    pub fn fixed_batch(&self) -> Option<usize> {
        self.fixed_batch
    }

    /// Answers all examples in batches of `batch` and writes the answers. `progress` is told how many are done.
    ///
    /// # Errors
    /// The first thing that fails; what was written so far is not published.
    pub fn answer_all(
        &mut self,
        examples: &mut Unlabelled,
        batch: usize,
        writer: &mut Writer,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, PredictError> {
        let batch = self.fixed_batch.unwrap_or(batch).max(1);
        let (mut arrays, mut done) = (Vec::new(), 0);
        loop {
            let count = examples.next(batch, &mut arrays)?;
            if count == 0 && done > 0 {
                return Ok(done);
            }
            if count == 0 {
                // The shapes of the answers follow from those of an example, of which there is none.
                let arrays = self.zeros(&examples.example_shapes());
                writer.add(&first_rows(self.answer_batch(&arrays, 1)?, 0))?;
                return Ok(0);
            }
            let answered = self.answer_batch(&arrays, count)?;
            writer.add(&answered)?;
            done += count as u64;
            progress(done);
        }
    }

    /// The answers to the first `count` examples of a batch.
    ///
    /// # Errors
    /// If the run fails, or an output does not have a row per example.
    fn answer_batch(&mut self, arrays: &[HostArray], count: usize) -> Result<Vec<Answered>, PredictError> {
        let padded: Vec<HostArray>;
        let arrays = match self.fixed_batch {
            Some(fixed) if fixed > count => {
                padded = arrays.iter().map(|array| array.padded(fixed)).collect();
                padded.as_slice()
            }
            _ => arrays,
        };
        let rows = self.fixed_batch.unwrap_or(count);
        let named = self.feeds.iter().map(|feed| feed.name.as_str());
        let inputs: Vec<(&str, &HostArray)> = named.zip(arrays).collect();
        let outputs = self.inference.run(&inputs)?;
        let mut answered = Vec::with_capacity(outputs.len());
        for ((output, name), tensor) in self.outputs.iter().zip(outputs) {
            if tensor.dims().first() != Some(&rows) {
                let (output, dims) = (output.clone(), tensor.dims().to_vec());
                return Err(PredictError::NotPerExample { output, dims, examples: rows });
            }
            let tensor = answer(self.answer, &self.loss, output, tensor)?;
            answered.push(Answered { name: name.clone(), tensor });
        }
        Ok(first_rows(answered, count))
    }

    /// One example of zeros.
    fn zeros(&self, example_shapes: &[Vec<usize>]) -> Vec<HostArray> {
        let zeros = |(feed, shape): (&Feed, &Vec<usize>)| {
            // A new one is filled with zeros.
            let mut array = HostArray::empty(feed.dtype);
            array.reset(feed.dtype, 1, shape);
            array
        };
        self.feeds.iter().zip(example_shapes).map(zeros).collect()
    }
}

/// The first examples of answers.
fn first_rows(mut answered: Vec<Answered>, count: usize) -> Vec<Answered> {
    for Answered { tensor, .. } in &mut answered {
        let mut dims = tensor.dims().to_vec();
        let rows = dims.first().copied().unwrap_or(0);
        if let Some(first) = dims.first_mut().filter(|_| rows > count) {
            *first = count;
            let bytes = tensor.bytes().slice(..tensor.bytes().len() / rows * count);
            *tensor = Tensor::new(ValueType::new(tensor.dtype(), dims), bytes)
                .expect("as many rows were cut off the bytes as off the shape");
        }
    }
    answered
}

fn outputs(
    graph: &Graph,
    loss: &LossPlan,
    wanted: &[String],
    answer: Answer,
) -> Result<Vec<String>, PredictError> {
    let names: Vec<&String> = graph.outputs.iter().map(|port| &port.name).collect();
    let available = || names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if let Some(name) = wanted.iter().find(|name| !names.contains(name)) {
        return Err(PredictError::NoSuchOutput { name: name.clone(), available: available() });
    }
    if !wanted.is_empty() {
        let mut seen = HashSet::new();
        return Ok(wanted.iter().filter(|name| seen.insert(name.as_str())).cloned().collect());
    }
    match answer {
        Answer::Outputs => Ok(names.into_iter().cloned().collect()),
        Answer::Argmax | Answer::Probabilities => match loss_output(graph, loss) {
            Ok(output) => Ok(vec![output]),
            Err(_) => Err(PredictError::SeveralOutputs { available: available() }),
        },
    }
}

/// What an input takes, by the sizes of its free dimensions in the settings.
fn feed(port: &Port, plan: &Plan) -> Feed {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Symbol(name) => plan.model.dimensions.get(name).and_then(|size| usize::try_from(*size).ok()),
        Dim::Unknown => None,
    };
    Feed {
        role: Role::Input,
        name: port.name.clone(),
        dtype: stored_dtype(port.dtype.unwrap_or(Dtype::F32)),
        shape: port.dims.as_ref().map(|dims| dims.iter().skip(1).map(size).collect()),
    }
}

/// Drops the nodes, initializers and inputs that the outputs do not need: a loss within the model, for instance, and the
/// targets that it takes.
fn keep_needed(graph: &mut Graph) {
    let mut needed: HashSet<String> = graph.outputs.iter().map(|port| port.name.clone()).collect();
    let mut nodes: Vec<Node> = std::mem::take(&mut graph.nodes);
    nodes.reverse();
    nodes.retain(|node| {
        let is_needed = node.outputs.iter().any(|output| needed.contains(output));
        if is_needed {
            needed.extend(node.reads().map(str::to_owned));
        }
        is_needed
    });
    nodes.reverse();
    graph.nodes = nodes;
    graph.inputs.retain(|port| needed.contains(&port.name));
    graph.initializers.retain(|(name, _)| needed.contains(name));
    let made: HashSet<&String> = graph.nodes.iter().flat_map(|node| &node.outputs).collect();
    graph.value_info.retain(|port| made.contains(&port.name));
}
