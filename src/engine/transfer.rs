//! Copies between host and device.

use super::error::EngineError;
use super::state::{Layout, StateSet};
use crate::graph::update::Averages;
use ort::memory::Allocator;
use ort::value::Tensor as OrtTensor;
use std::borrow::Cow;

/// Copies a whole tensor, whichever memory the two are in.
pub(super) fn copy(from: &OrtTensor<f32>, to: &mut OrtTensor<f32>) -> Result<(), EngineError> {
    if from.memory_info().is_cpu_accessible() && to.memory_info().is_cpu_accessible() {
        to.extract_tensor_mut().1.copy_from_slice(from.extract_tensor().1);
        return Ok(());
    }
    from.copy_into(to).map_err(|error| EngineError::new("copying between host and device", &error))
}

/// Gives tensor `i` of a state what `values` has for it. Without that an average is its parameter, the rest zeros.
pub(super) fn fill_all<'v>(
    set: &mut StateSet,
    layout: &Layout,
    values: &dyn Fn(usize) -> Option<Cow<'v, [f32]>>,
) -> Result<(), EngineError> {
    let first_average = layout.parameters.len() + layout.states.len();
    let count = if layout.averages == Averages::Kept { layout.parameters.len() } else { 0 };
    let parameter_of = |index: usize| index.checked_sub(first_average).filter(|parameter| *parameter < count);
    set.iter_mut().enumerate().try_for_each(|(index, tensor)| {
        let found = values(index).or_else(|| values(parameter_of(index)?));
        fill(tensor, found.as_deref())
    })
}

/// Gives a tensor these values, or zeros.
fn fill(to: &mut OrtTensor<f32>, values: Option<&[f32]>) -> Result<(), EngineError> {
    let write = |memory: &mut [f32]| match values {
        None => {
            memory.fill(0.0);
            Ok(())
        }
        Some(values) if values.len() == memory.len() => {
            memory.copy_from_slice(values);
            Ok(())
        }
        Some(values) => Err(EngineError {
            work: "loading the state".to_owned(),
            class: super::error::ErrorClass::Other,
            message: format!("a tensor has {} elements, expected {}", values.len(), memory.len()),
        }),
    };
    if to.memory_info().is_cpu_accessible() {
        return write(to.extract_tensor_mut().1);
    }
    let shape = to.shape().clone();
    let mut staged = OrtTensor::<f32>::new(&Allocator::default(), shape)
        .map_err(|error| EngineError::new("allocating host memory for a transfer", &error))?;
    write(staged.extract_tensor_mut().1)?;
    copy(&staged, to)
}
