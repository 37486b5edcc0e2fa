//! A short number that stands for all parameters.

use super::error::EngineError;
use super::transfer::copy;
use ort::memory::Allocator;
use ort::value::Tensor as OrtTensor;
use xxhash_rust::xxh3::Xxh3Default;

/// XXH3 (64 bits, seed 0) of the bytes of these tensors, little-endian, one behind the other.
///
/// # Errors
/// If one lives on a device and can not be copied from it.
pub(super) fn digest(tensors: &[OrtTensor<f32>]) -> Result<u64, EngineError> {
    let mut hash = Xxh3Default::new();
    for tensor in tensors {
        if tensor.memory_info().is_cpu_accessible() {
            hash.update(bytemuck::cast_slice(tensor.extract_tensor().1));
            continue;
        }
        let dims: Vec<i64> = tensor.shape().iter().copied().collect();
        let mut on_host = OrtTensor::<f32>::new(&Allocator::default(), dims)
            .map_err(|error| EngineError::new("allocating room for a parameter", &error))?;
        copy(tensor, &mut on_host)?;
        hash.update(bytemuck::cast_slice(on_host.extract_tensor().1));
    }
    Ok(hash.digest())
}
