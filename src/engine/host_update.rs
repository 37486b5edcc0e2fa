//! The update of state in host memory: the optimizer's loops over the tensors of a step.

use super::error::{EngineError, ErrorClass};
use super::optimizer::{Optimizer, Scratch, Source, StepScalars, Target};
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
    scratch: &mut Scratch,
    gradients: &[OrtTensor<f32>],
    source: Option<&StateSet>,
    target: &mut StateSet,
) {
    let StateSet { parameters, slots, averages, .. } = target;
    let mut averages = averages.iter_mut();
    let mut updates = Vec::with_capacity(parameters.len());
    for (index, ((parameter, slots), gradient)) in parameters.iter_mut().zip(slots).zip(gradients).enumerate()
    {
        let mut slots = slots.iter_mut();
        let target = Target {
            parameter: parameter.extract_tensor_mut().1,
            slots: std::array::from_fn(|_| written(slots.next())),
            average: written(averages.next()),
        };
        let gradient = gradient.extract_tensor().1;
        let made = match source {
            None => optimizer.update_in_place(index, target, gradient),
            Some(set) => {
                let slots = set.slots.get(index);
                let source = Source {
                    parameter: read(set.parameters.get(index)),
                    slots: std::array::from_fn(|slot| read(slots.and_then(|slots| slots.get(slot)))),
                    average: read(set.averages.get(index)),
                };
                optimizer.update_into(index, source, target, gradient)
            }
        };
        updates.push(made.expect("gradients and slots were allocated with the shapes the optimizer states"));
    }
    pool.install(|| optimizer.apply(&mut updates, scalars, scratch));
}

fn written(tensor: Option<&mut OrtTensor<f32>>) -> &mut [f32] {
    tensor.map_or(&mut [], |tensor| tensor.extract_tensor_mut().1)
}

fn read(tensor: Option<&OrtTensor<f32>>) -> &[f32] {
    tensor.map_or(&[], |tensor| tensor.extract_tensor().1)
}
