//! A training step as a transaction over the state.
//!
//! [`Engine::gradients`] computes loss and gradients from the committed state and may fail; the state is untouched then.
//! [`Engine::commit`] applies the optimizer and can not fail on the CPU. It works in place, unless somebody holds the
//! state (a checkpoint being written): then it writes into a spare set, and what is held stays as it was.

use super::compiled::{Compiled, Shared};
use super::error::EngineError;
use super::host_update::{add_into, pool, update};
use super::library::Runtime;
use super::optimizer::{Optimizer, Scratch, StepScalars, clip_factor, gradient_norm};
pub use super::outcome::{Clipping, Evaluated, StepOutcome};
use super::session::{Cancel, Place};
pub use super::state::Evaluates;
use super::state::{Layout, StateSet, tensors};
use super::transfer::fill_all;
use super::update_session::{StepNumbers, UpdateSession};
use crate::config::{OptimizerPlan, Reduction};
use crate::data::HostArray;
use crate::graph::step::{MaskFeed, StepGraph, Trainable};
use crate::graph::tensor::Tensor;
use ort::memory::Allocator;
use ort::value::Tensor as OrtTensor;
use std::borrow::Cow;
use std::sync::Arc;

mod held;

/// The state of a training and the sessions that change it.
#[derive(Debug)]
pub struct Engine {
    runtime: Runtime,
    place: Place,
    layout: Layout,
    cancel: Cancel,
    optimizer: Optimizer,
    scratch: Scratch,
    /// Which values evaluation reads.
    evaluates: Evaluates,
    /// Threads of the optimizer's loops.
    pool: Arc<rayon::ThreadPool>,
    current: Arc<StateSet>,
    spare: Option<Arc<StateSet>>,
    next_id: u64,
    gradients: Vec<OrtTensor<f32>>,
    /// Sums over the parts of a batch; made when a batch first has several parts.
    accumulated: Option<Vec<OrtTensor<f32>>>,
    states_in: Vec<OrtTensor<f32>>,
    states_out: Vec<OrtTensor<f32>>,
    update_session: Option<UpdateSession>,
    training: Vec<Compiled>,
    evaluation: Vec<Compiled>,
    pending: Pending,
    loss_scale: f32,
}

/// What the parts of the batch in progress have given so far.
#[derive(Debug, Clone, Copy, Default)]
struct Pending {
    parts: usize,
    loss_sum: f64,
    weight: f64,
}

/// How the state is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateBy {
    /// A loop over host memory.
    FusedLoop,
    /// A session of standard operators, for state that lives on a device.
    Session,
}

impl Engine {
    /// An engine whose parameters and running statistics have their initial values and whose slots are zero.
    ///
    /// # Errors
    /// If memory for the state can not be allocated or the device does not start.
    pub fn new(
        runtime: &Runtime,
        place: Place,
        update: UpdateBy,
        trainable: &Trainable,
        plan: &OptimizerPlan,
    ) -> Result<Self, EngineError> {
        let named = |tensors: &[(String, Tensor)]| {
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect::<Vec<_>>()
        };
        let parameters = named(&trainable.parameters);
        let optimizer = Optimizer::new(plan, &parameters);
        let layout = Layout {
            slots: (0..parameters.len()).map(|index| optimizer.slots(index).to_vec()).collect(),
            parameters,
            averages: optimizer.averages(),
            states: named(&trainable.states),
        };
        let scratch = match update {
            UpdateBy::FusedLoop => optimizer.scratch().map_err(|error| EngineError {
                work: "allocating memory for the optimizer".to_owned(),
                class: super::error::ErrorClass::OutOfMemory,
                message: error.to_string(),
            })?,
            UpdateBy::Session => Scratch::default(),
        };
        let update_session = match update {
            UpdateBy::FusedLoop => None,
            UpdateBy::Session => Some(UpdateSession::new(runtime, place, plan, &optimizer)?),
        };
        let device = update_session.as_ref().map_or(Ok(Allocator::default()), UpdateSession::allocator)?;
        let host = Allocator::default();
        let mut initial = StateSet::allocate(&layout, &device, 0)?;
        let given: Vec<&Tensor> =
            trainable.parameters.iter().chain(&trainable.states).map(|(_, tensor)| tensor).collect();
        // One after the other: all at once would be in memory twice.
        fill_all(&mut initial, &layout, &|index| given.get(index)?.to_f32().map(Cow::Owned))?;
        Ok(Self {
            evaluates: Evaluates::of(plan),
            scratch,
            runtime: runtime.clone(),
            place,
            cancel: Cancel::new()?,
            pool: Arc::new(pool(runtime.threads.count)?),
            current: Arc::new(initial),
            spare: None,
            next_id: 1,
            gradients: tensors(&layout.parameters, &device)?,
            accumulated: None,
            states_in: tensors(&layout.states, &host)?,
            states_out: tensors(&layout.states, &host)?,
            update_session,
            training: Vec::new(),
            evaluation: Vec::new(),
            pending: Pending::default(),
            loss_scale: 1.0,
            optimizer,
            layout,
        })
    }

    /// Frees all sessions with their arenas, before others are compiled.
    pub fn release_sessions(&mut self) {
        self.training.clear();
        self.evaluation.clear();
        // Until a batch has several parts again, nobody needs their sums.
        self.accumulated = None;
    }

    /// A digest of the bytes of all parameters, in the order of [`Layout::parameters`]: XXH3 with 64 bits.
    ///
    /// # Errors
    /// If the parameters live on a device and can not be copied from it.
    pub fn parameter_digest(&self) -> Result<u64, EngineError> {
        super::digest::digest(&self.current.parameters)
    }

    /// Compiles the training graph for one batch size.
    ///
    /// # Errors
    /// If ONNX Runtime does not accept the graph.
    pub fn add_training(&mut self, graph: StepGraph, batch: usize) -> Result<(), EngineError> {
        self.training.push(Compiled::new(&self.runtime, self.place, graph, batch)?);
        Ok(())
    }

    /// Compiles the evaluation graph for one batch size.
    ///
    /// # Errors
    /// If ONNX Runtime does not accept the graph.
    pub fn add_evaluation(&mut self, graph: StepGraph, batch: usize) -> Result<(), EngineError> {
        self.evaluation.push(Compiled::new(&self.runtime, self.place, graph, batch)?);
        Ok(())
    }

    /// What training graphs in float16 multiply their loss with from here on; 1 at first. Others do not read it.
    pub fn set_loss_scale(&mut self, scale: f32) {
        self.loss_scale = scale;
    }

    /// Computes loss and gradients of one part of a batch and adds them to those of the parts before it.
    ///
    /// `names` are those of `arrays`; `fill_mask` fills a dropout mask, given its position among the masks.
    ///
    /// # Errors
    /// If the run fails or is cancelled; the committed state is untouched, and [`Self::abandon`] forgets the batch.
    pub fn gradients(
        &mut self,
        names: &[String],
        arrays: &[HostArray],
        fill_mask: &mut dyn FnMut(usize, &MaskFeed, &mut [bool]),
    ) -> Result<(), EngineError> {
        let batch = batch_of(arrays);
        if self.pending.parts == 0 {
            for (working, committed) in self.states_in.iter_mut().zip(&self.current.states) {
                working.extract_tensor_mut().1.copy_from_slice(committed.extract_tensor().1);
            }
        } else {
            for (working, updated) in self.states_in.iter_mut().zip(&self.states_out) {
                working.extract_tensor_mut().1.copy_from_slice(updated.extract_tensor().1);
            }
        }
        let Some(compiled) = self.training.iter_mut().find(|compiled| compiled.batch == batch) else {
            return Err(not_compiled("training", batch));
        };
        compiled.fill(names, arrays)?;
        for (position, (mask, memory)) in compiled.masks().enumerate() {
            fill_mask(position, mask, memory);
        }
        let mut shared = Shared {
            layout: &self.layout,
            gradients: &mut self.gradients,
            states_in: &self.states_in,
            states_out: &mut self.states_out,
            loss_scale: self.loss_scale,
        };
        compiled.run(&self.current, Evaluates::Parameters, &mut shared, &self.cancel)?;
        let (sum, weight) = compiled.loss();
        self.pending.parts += 1;
        self.pending.loss_sum += f64::from(sum);
        match compiled.reduction {
            // A sum is divided by 1, in however many parts it is computed.
            Reduction::Sum => self.pending.weight = 1.0,
            Reduction::Mean | Reduction::BatchMean => self.pending.weight += f64::from(weight),
        }
        Ok(())
    }

    /// Keeps the gradients of the part just computed, because another part of the same batch follows.
    ///
    /// # Errors
    /// If memory for the sums can not be allocated; the committed state is untouched.
    pub fn accumulate(&mut self) -> Result<(), EngineError> {
        self.add_to_sums(self.pending.parts == 1)
    }

    fn add_to_sums(&mut self, is_first: bool) -> Result<(), EngineError> {
        if let Some(session) = &mut self.update_session {
            return session.accumulate(is_first, &self.gradients);
        }
        let sums = match &mut self.accumulated {
            Some(sums) => sums,
            None => self.accumulated.insert(tensors(&self.layout.parameters, &Allocator::default())?),
        };
        for (sum, gradient) in sums.iter_mut().zip(&self.gradients) {
            add_into(&self.pool, is_first, sum.extract_tensor_mut().1, gradient.extract_tensor().1);
        }
        Ok(())
    }

    /// Forgets the batch in progress.
    pub fn abandon(&mut self) {
        self.pending = Pending::default();
    }

    /// Applies the optimizer with the gradients of the batch and commits the new state as `step` (from 1).
    ///
    /// If the loss or the gradient norm is not finite nothing is applied and the state stays as it was.
    ///
    /// # Errors
    /// On the CPU only if memory for a second set of buffers is needed and can not be had; the state is untouched then.
    pub fn commit(&mut self, step: u64, lr: f64, clipping: Clipping) -> Result<StepOutcome, EngineError> {
        let pending = std::mem::take(&mut self.pending);
        if pending.parts > 1 {
            // The last part is still in the gradient buffers; the sums of the others are added to it.
            self.add_to_sums(false)?;
        }
        let loss = (pending.loss_sum / pending.weight) as f32;
        let mut outcome =
            StepOutcome { loss, weight: pending.weight, gradient_norm: f64::NAN, applied: false };
        if outcome.is_empty() {
            return Ok(outcome);
        }
        if self.update_session.is_some() {
            return self.commit_by_session(step, lr, clipping, pending, outcome);
        }
        let gradients = match &self.accumulated {
            Some(sums) if pending.parts > 1 => sums,
            _ => &self.gradients,
        };
        let slices: Vec<&[f32]> = gradients.iter().map(|gradient| gradient.extract_tensor().1).collect();
        outcome.gradient_norm = self.pool.install(|| gradient_norm(&slices)) / pending.weight;
        if !outcome.loss.is_finite() || !outcome.gradient_norm.is_finite() {
            return Ok(outcome);
        }
        let factor = clipping.norm.map_or(1.0, |limit| clip_factor(outcome.gradient_norm, limit));
        let scalars = StepScalars {
            step,
            lr,
            grad_scale: (factor / pending.weight) as f32,
            clip_value: clipping.value.map(|limit| limit as f32),
        };
        self.apply(&scalars, pending.parts > 1)?;
        outcome.applied = true;
        Ok(outcome)
    }

    fn apply(&mut self, scalars: &StepScalars, summed: bool) -> Result<(), EngineError> {
        if Arc::get_mut(&mut self.current).is_none()
            && self.spare.as_mut().is_none_or(|spare| Arc::get_mut(spare).is_none())
        {
            let fresh = self.fresh_set()?;
            self.spare = Some(Arc::new(fresh));
        }
        let gradients =
            if summed { self.accumulated.as_deref().unwrap_or_default() } else { &self.gradients };
        let in_place = Arc::get_mut(&mut self.current).is_some();
        if in_place {
            let set = Arc::get_mut(&mut self.current).expect("asked the line before");
            update(&self.optimizer, &self.pool, scalars, &mut self.scratch, gradients, None, set);
        } else {
            let spare = self.spare.as_mut().and_then(Arc::get_mut).expect("a spare set was made above");
            let source = Some(&*self.current);
            update(&self.optimizer, &self.pool, scalars, &mut self.scratch, gradients, source, spare);
        }
        let target = if in_place { &mut self.current } else { self.spare.as_mut().expect("made above") };
        let target = Arc::get_mut(target).expect("nobody else holds the set that was just written");
        for (committed, updated) in target.states.iter_mut().zip(&self.states_out) {
            committed.extract_tensor_mut().1.copy_from_slice(updated.extract_tensor().1);
        }
        if !in_place && let Some(spare) = &mut self.spare {
            std::mem::swap(&mut self.current, spare);
        }
        Ok(())
    }

    fn commit_by_session(
        &mut self,
        step: u64,
        lr: f64,
        clipping: Clipping,
        pending: Pending,
        mut outcome: StepOutcome,
    ) -> Result<StepOutcome, EngineError> {
        // The state on a device is never held by anybody else, so the spare set is always free.
        let mut spare = match self.spare.take().and_then(|spare| Arc::try_unwrap(spare).ok()) {
            Some(spare) => spare,
            None => self.fresh_set()?,
        };
        let session = self.update_session.as_mut().expect("the caller checked that there is one");
        let numbers = StepNumbers { step, lr, clipping, weight: pending.weight };
        let norm = session.run(&self.current, &mut spare, &self.gradients, pending.parts > 1, numbers)?;
        outcome.gradient_norm = norm;
        if !outcome.loss.is_finite() || !norm.is_finite() {
            self.spare = Some(Arc::new(spare));
            return Ok(outcome);
        }
        for (committed, updated) in spare.states.iter_mut().zip(&self.states_out) {
            committed.extract_tensor_mut().1.copy_from_slice(updated.extract_tensor().1);
        }
        self.spare = Some(std::mem::replace(&mut self.current, Arc::new(spare)));
        outcome.applied = true;
        Ok(outcome)
    }

    /// Loss and predictions of the committed state for one batch.
    ///
    /// # Errors
    /// If the run fails or is cancelled.
    pub fn evaluate(&mut self, names: &[String], arrays: &[HostArray]) -> Result<Evaluated<'_>, EngineError> {
        let batch = batch_of(arrays);
        let Some(compiled) = self.evaluation.iter_mut().find(|compiled| compiled.batch == batch) else {
            return Err(not_compiled("evaluation", batch));
        };
        compiled.fill(names, arrays)?;
        let mut shared = Shared {
            layout: &self.layout,
            gradients: &mut [],
            states_in: &self.states_in,
            states_out: &mut [],
            loss_scale: 1.0,
        };
        compiled.run(&self.current, self.evaluates, &mut shared, &self.cancel)?;
        let (loss_sum, weight) = compiled.loss();
        Ok(Evaluated { loss_sum, weight, predictions: compiled.predictions() })
    }
}

fn batch_of(arrays: &[HostArray]) -> usize {
    arrays.first().and_then(|array| array.shape.first()).copied().unwrap_or(0)
}

fn not_compiled(what: &str, batch: usize) -> EngineError {
    let message = format!("no {what} graph was compiled for a batch of {batch}");
    EngineError { work: "choosing a session".to_owned(), class: super::error::ErrorClass::Other, message }
}
