//! The optimizer as a session over device tensors.

use super::compiled::bind_output;
use super::error::EngineError;
use super::library::Runtime;
use super::optimizer::{Optimizer, StepFactors, step_factors};
use super::session::{Optimize, Place, open};
use super::state::{StateSet, tensors};
use super::step::Clipping;
use super::transfer::copy;
use crate::config::{OptimizerKind, OptimizerPlan};
use crate::graph::update::{
    self, NORM, ParameterUpdate, SCALARS, average_name, gradient_name, parameter_name, slot_name, updated,
};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session};
use ort::value::Tensor as OrtTensor;

/// The update session, its scalars, and the sums of gradients where a batch has several parts.
#[derive(Debug)]
pub(super) struct UpdateSession {
    session: Session,
    place: Place,
    kind: OptimizerKind,
    optimizer: Optimizer,
    scalars: Vec<OrtTensor<f32>>,
    norm: OrtTensor<f32>,
    parameters: Vec<(String, Vec<usize>)>,
    accumulation: Option<Accumulation>,
}

/// Two sets of sums: each part is added from one into the other.
#[derive(Debug)]
struct Accumulation {
    session: Session,
    sums: Vec<OrtTensor<f32>>,
    spare: Vec<OrtTensor<f32>>,
}

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepNumbers {
    pub step: u64,
    pub lr: f64,
    pub clipping: Clipping,
    pub weight: f64,
}

impl UpdateSession {
    pub(super) fn new(
        runtime: &Runtime,
        place: Place,
        plan: &OptimizerPlan,
        optimizer: &Optimizer,
    ) -> Result<Self, EngineError> {
        let updates: Vec<ParameterUpdate> = optimizer.updates().cloned().collect();
        let graph = update::build(&updates, optimizer.averages());
        let session = open(runtime, place, &graph, Optimize::Everything)?;
        let parameters: Vec<(String, Vec<usize>)> = updates
            .into_iter()
            .enumerate()
            .map(|(index, update)| (parameter_name(index), update.dims))
            .collect();
        let host = Allocator::default();
        let dims: [usize; 0] = [];
        let scalar =
            || OrtTensor::new(&host, dims).map_err(|error| EngineError::new("allocating a scalar", &error));
        let accumulation = open(runtime, place, &update::accumulation(&parameters), Optimize::Everything)?;
        let accumulation = Accumulation { session: accumulation, sums: Vec::new(), spare: Vec::new() };
        Ok(Self {
            session,
            place,
            kind: plan.kind.clone(),
            optimizer: optimizer.clone(),
            scalars: SCALARS.iter().map(|_| scalar()).collect::<Result<_, _>>()?,
            norm: scalar()?,
            parameters,
            accumulation: Some(accumulation),
        })
    }

    /// Memory of the device this session runs on.
    pub(super) fn allocator(&self) -> Result<Allocator, EngineError> {
        let Place::Cuda(ordinal) = self.place else { return Ok(Allocator::default()) };
        let device = i32::try_from(ordinal).unwrap_or(i32::MAX);
        let failed = |error: ort::Error| EngineError::new("reaching the memory of the CUDA device", &error);
        let info =
            MemoryInfo::new(AllocationDevice::CUDA, device, AllocatorType::Device, MemoryType::Default);
        Allocator::new(&self.session, info.map_err(failed)?).map_err(failed)
    }

    /// Adds the gradients of a part to the sums, which start with the first part.
    pub(super) fn accumulate(
        &mut self,
        is_first: bool,
        gradients: &[OrtTensor<f32>],
    ) -> Result<(), EngineError> {
        let mut accumulation = self.accumulation.take().expect("it is put back before this function returns");
        let added = self.add(&mut accumulation, is_first, gradients);
        self.accumulation = Some(accumulation);
        added
    }

    fn add(
        &self,
        sums: &mut Accumulation,
        is_first: bool,
        gradients: &[OrtTensor<f32>],
    ) -> Result<(), EngineError> {
        if sums.sums.is_empty() {
            let device = self.allocator()?;
            sums.sums = tensors(&self.parameters, &device)?;
            sums.spare = tensors(&self.parameters, &device)?;
        }
        if is_first {
            return sums.sums.iter_mut().zip(gradients).try_for_each(|(sum, gradient)| copy(gradient, sum));
        }
        let failed = |error: ort::Error| EngineError::new("adding up gradients", &error);
        let mut binding = sums.session.create_binding().map_err(failed)?;
        let values = sums.sums.iter().zip(gradients).zip(&mut sums.spare);
        for (index, ((sum, gradient), spare)) in values.enumerate() {
            binding.bind_input(format!("a{index}"), sum).map_err(failed)?;
            binding.bind_input(gradient_name(index), gradient).map_err(failed)?;
            bind_output(&mut binding, &format!("sum{index}"), spare)?;
        }
        sums.session.run_binding(&binding).map(drop).map_err(failed)?;
        std::mem::swap(&mut sums.sums, &mut sums.spare);
        Ok(())
    }

    /// Writes the updated state into `target` and gives the norm of the mean gradient; `summed` takes the sums of
    /// several parts instead of `gradients`.
    pub(super) fn run(
        &mut self,
        source: &StateSet,
        target: &mut StateSet,
        gradients: &[OrtTensor<f32>],
        summed: bool,
        numbers: StepNumbers,
    ) -> Result<f64, EngineError> {
        let failed = |error: ort::Error| EngineError::new("updating parameters", &error);
        let values = self.scalar_values(&numbers);
        for (scalar, value) in self.scalars.iter_mut().zip(values) {
            scalar.extract_tensor_mut().1.fill(value as f32);
        }
        let mut binding = self.session.create_binding().map_err(failed)?;
        let sums = self.accumulation.as_ref().map_or(&[][..], |accumulation| &accumulation.sums);
        let gradients = if summed { sums } else { gradients };
        self.bind(&mut binding, source, target, gradients)
            .map_err(|error| EngineError::new("binding the update", &error))?;
        bind_output(&mut binding, NORM, &mut self.norm)?;
        self.session.run_binding(&binding).map(drop).map_err(failed)?;
        Ok(self.norm.extract_tensor().1.first().copied().map_or(f64::NAN, f64::from))
    }

    fn bind(
        &self,
        binding: &mut IoBinding,
        source: &StateSet,
        target: &mut StateSet,
        gradients: &[OrtTensor<f32>],
    ) -> Result<(), ort::Error> {
        for (name, scalar) in SCALARS.iter().zip(&self.scalars) {
            if self.session.inputs().iter().any(|input| input.name() == *name) {
                binding.bind_input(*name, scalar)?;
            }
        }
        for (index, (parameter, gradient)) in source.parameters.iter().zip(gradients).enumerate() {
            binding.bind_input(parameter_name(index), parameter)?;
            binding.bind_input(gradient_name(index), gradient)?;
        }
        for (index, parameter) in target.parameters.iter_mut().enumerate() {
            binding.bind_output(updated(&parameter_name(index)), parameter)?;
        }
        for (index, (from, to)) in source.slots.iter().zip(&mut target.slots).enumerate() {
            for (slot, (from, to)) in from.iter().zip(to).enumerate() {
                let name = slot_name(slot, index);
                binding.bind_output(updated(&name), to)?;
                binding.bind_input(name, from)?;
            }
        }
        for (index, (from, to)) in source.averages.iter().zip(&mut target.averages).enumerate() {
            let name = average_name(index);
            binding.bind_output(updated(&name), to)?;
            binding.bind_input(name, from)?;
        }
        Ok(())
    }

    /// The values of [`SCALARS`] for one step.
    fn scalar_values(&self, numbers: &StepNumbers) -> [f64; SCALARS.len()] {
        let StepFactors { first, second, third } = step_factors(&self.kind, numbers.step);
        let unbounded = f64::INFINITY;
        let max_norm = numbers.clipping.norm.unwrap_or(unbounded);
        let max_value = numbers.clipping.value.unwrap_or(unbounded);
        let fresh_average = self.optimizer.fresh_average(numbers.step);
        [1.0 / numbers.weight, max_norm, max_value, numbers.lr, fresh_average, first, second, third]
    }
}
