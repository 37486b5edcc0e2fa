//! The update of state in host memory: the optimizer's loops over the tensors of a step.

use super::error::{EngineError, ErrorClass};
use super::optimizer::{Decay, MAX_SLOTS, Optimizer, Source, StepScalars};
use super::state::StateSet;
use ort::value::Tensor as OrtTensor;
use rayon::prelude::*;

/// The threads of the loops.
pub(super) fn pool(threads: usize) -> Result<rayon::ThreadPool, EngineError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("optimizer-{i}"))
        .build()
        .map_err(|error| {
            let class = ErrorClass::Other;
            EngineError {
                work: "starting the optimizer's threads".to_owned(),
                class,
                message: error.to_string(),
            }
        })
}

/// `sum = gradient` for the first part, `sum += gradient` for the others.
pub(super) fn add_into(pool: &rayon::ThreadPool, is_first: bool, sum: &mut [f32], gradient: &[f32]) {
    const CHUNK: usize = 1 << 14;
    pool.install(|| {
        sum.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).for_each(|(sum, gradient)| {
            if is_first {
                sum.copy_from_slice(gradient);
            } else {
                sum.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
            }
        });
    });
}

/// Runs the optimizer over all parameters: in place, or from `source` into `target`.
pub(super) fn update(
    optimizer: &Optimizer,
    pool: &rayon::ThreadPool,
    scalars: &StepScalars,
    decays: &[Decay],
    gradients: &[OrtTensor<f32>],
    source: Option<&StateSet>,
    target: &mut StateSet,
) {
    let StateSet { parameters, slots, .. } = target;
    let mut slots = slots.iter_mut().map(|slot| slot.iter_mut());
    let mut lanes: [Option<std::slice::IterMut<'_, OrtTensor<f32>>>; MAX_SLOTS] =
        std::array::from_fn(|_| slots.next());
    let mut updates = Vec::with_capacity(parameters.len());
    for (index, ((parameter, gradient), decay)) in
        parameters.iter_mut().zip(gradients).zip(decays).enumerate()
    {
        let lane_slices = lanes.each_mut().map(|lane| match lane.as_mut().and_then(Iterator::next) {
            Some(tensor) => tensor.extract_tensor_mut().1,
            None => &mut [],
        });
        let (parameter, gradient) = (parameter.extract_tensor_mut().1, gradient.extract_tensor().1);
        let made = match source {
            None => optimizer.update_in_place(parameter, gradient, lane_slices, *decay),
            Some(set) => {
                let slot = |slot: usize| {
                    set.slots
                        .get(slot)
                        .and_then(|slot| slot.get(index))
                        .map_or(&[][..], |tensor| tensor.extract_tensor().1)
                };
                let from = set.parameters.get(index).map_or(&[][..], |tensor| tensor.extract_tensor().1);
                let source = Source { parameter: from, slots: std::array::from_fn(slot) };
                optimizer.update_into(source, parameter, gradient, lane_slices, *decay)
            }
        };
        updates.push(made.expect("gradients and slots were allocated with the shape of their parameter"));
    }
    pool.install(|| optimizer.apply(&mut updates, scalars));
}
