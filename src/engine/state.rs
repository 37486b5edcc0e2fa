//! The state of a training: parameters, optimizer slots and running statistics, in tensors of ONNX Runtime.

use super::error::EngineError;
use crate::config::OptimizerPlan;
use crate::graph::update::{Averages, Slot};
use ort::memory::Allocator;
use ort::value::Tensor as OrtTensor;

/// What a step changes. A set that somebody holds is never written to; see [`super::step::Engine`].
#[derive(Debug)]
pub struct StateSet {
    /// One tensor per parameter.
    pub(super) parameters: Vec<OrtTensor<f32>>,
    /// For each parameter, its slots.
    pub(super) slots: Vec<Vec<OrtTensor<f32>>>,
    /// One tensor per parameter where a moving average is kept.
    pub(super) averages: Vec<OrtTensor<f32>>,
    /// One tensor per running statistic.
    pub(super) states: Vec<OrtTensor<f32>>,
    /// Distinguishes sets, so that bindings know which one they are for.
    pub(super) id: u64,
}

/// Whose values a graph computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluates {
    /// Those of the parameters.
    Parameters,
    /// Those of their moving averages.
    Averages,
}

impl Evaluates {
    /// What validation and export take, by the settings.
    #[must_use]
    pub fn of(plan: &OptimizerPlan) -> Self {
        if plan.ema.is_some_and(|ema| ema.is_used) { Self::Averages } else { Self::Parameters }
    }
}

/// Names and shapes of what a state holds, the same for all sets of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Parameters by ONNX name.
    pub parameters: Vec<(String, Vec<usize>)>,
    /// For each parameter, its slots by PyTorch's name.
    pub slots: Vec<Vec<Slot>>,
    /// Whether a moving average of each parameter is kept.
    pub averages: Averages,
    /// Running statistics by ONNX name.
    pub states: Vec<(String, Vec<usize>)>,
}

/// What a tensor of the state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TensorRole<'a> {
    /// A parameter.
    Parameter(&'a str),
    /// A slot of the optimizer for a parameter.
    Slot(&'a str, &'a str),
    /// The moving average of a parameter.
    Average(&'a str),
    /// A running statistic.
    State(&'a str),
}

impl Layout {
    /// The tensors of a state in their fixed order: parameters, states, averages, then the slots of each parameter.
    pub fn tensors(&self) -> impl Iterator<Item = (TensorRole<'_>, &[usize])> {
        let parameters =
            self.parameters.iter().map(|(name, dims)| (TensorRole::Parameter(name), dims.as_slice()));
        let states = self.states.iter().map(|(name, dims)| (TensorRole::State(name), dims.as_slice()));
        let averages =
            self.averaged().iter().map(|(name, dims)| (TensorRole::Average(name), dims.as_slice()));
        let slots = self.parameters.iter().zip(&self.slots).flat_map(|((name, _), slots)| {
            slots.iter().map(move |slot| (TensorRole::Slot(slot.name, name), slot.dims.as_slice()))
        });
        parameters.chain(states).chain(averages).chain(slots)
    }

    /// The parameters of which averages are kept: all or none.
    fn averaged(&self) -> &[(String, Vec<usize>)] {
        match self.averages {
            Averages::Kept => &self.parameters,
            Averages::None => &[],
        }
    }
}

impl Layout {
    /// The size of a state.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tensors().map(|(_, dims)| dims.iter().product::<usize>()).sum::<usize>() * size_of::<f32>()
    }
}

impl StateSet {
    /// A set with unspecified contents.
    pub(super) fn allocate(layout: &Layout, allocator: &Allocator, id: u64) -> Result<Self, EngineError> {
        let parameters = tensors(&layout.parameters, allocator)?;
        let averages = tensors(layout.averaged(), allocator)?;
        let of_parameter = |((name, _), slots): (&(String, Vec<usize>), &Vec<Slot>)| {
            let named = |slot: &Slot| (format!("{} of {name}", slot.name), slot.dims.clone());
            tensors(&slots.iter().map(named).collect::<Vec<_>>(), allocator)
        };
        let slots =
            layout.parameters.iter().zip(&layout.slots).map(of_parameter).collect::<Result<_, _>>()?;
        let states = tensors(&layout.states, &Allocator::default())?;
        Ok(Self { parameters, slots, averages, states, id })
    }

    /// All tensors, in the order of [`Layout::tensors`].
    pub(super) fn iter(&self) -> impl Iterator<Item = &OrtTensor<f32>> {
        self.parameters.iter().chain(&self.states).chain(&self.averages).chain(self.slots.iter().flatten())
    }

    /// The same, to be written.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut OrtTensor<f32>> {
        let Self { parameters, slots, averages, states, .. } = self;
        parameters.iter_mut().chain(states).chain(averages).chain(slots.iter_mut().flatten())
    }

    /// The contents of all tensors, in the order of [`Layout::tensors`]; only for a set in host memory.
    pub fn host_slices(&self) -> impl Iterator<Item = &[f32]> {
        self.iter().map(|tensor| tensor.extract_tensor().1)
    }
}

/// One uninitialised tensor per entry, in the memory of `allocator`.
pub(super) fn tensors(
    layout: &[(String, Vec<usize>)],
    allocator: &Allocator,
) -> Result<Vec<OrtTensor<f32>>, EngineError> {
    let make = |(name, dims): &(String, Vec<usize>)| {
        OrtTensor::<f32>::new(allocator, dims.as_slice())
            .map_err(|error| EngineError::new(format!("allocating `{name}` {dims:?}"), &error))
    };
    layout.iter().map(make).collect()
}
