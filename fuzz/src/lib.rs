//! What all fuzz targets share: the allocator that counts what a target holds.

use trainer_runtime::fuzzing::allocation::CountingAllocator;

pub use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
pub use trainer_runtime::fuzzing;
pub use trainer_runtime::fuzzing::allocation::within_limits;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Declares a target: a function of the bytes that panics where a promise is broken.
#[macro_export]
macro_rules! target {
    ($target:expr) => {
        $crate::fuzz_target!(|data: &[u8]| $crate::within_limits(data, $target));
    };
}

/// Declares what is done to an input after libFuzzer mutated it: `sign` puts its checksums right.
#[macro_export]
macro_rules! signed {
    ($sign:expr) => {
        $crate::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $crate::mutate_and_sign(data, size, max_size, seed, $sign)
        });
    };
}

/// One mutation of libFuzzer's, and in fifteen of sixteen cases checksums that are right.
pub fn mutate_and_sign(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    sign: fn(&[u8]) -> Vec<u8>,
) -> usize {
    let mutated = fuzzer_mutate(data, size, max_size);
    if seed.is_multiple_of(16) {
        return mutated;
    }
    let signed = data.get(..mutated).map(sign).unwrap_or_default();
    let kept = signed.len().min(max_size);
    match (data.get_mut(..kept), signed.get(..kept)) {
        (Some(place), Some(signed)) => {
            place.copy_from_slice(signed);
            kept
        }
        _ => mutated,
    }
}

/// Declares how an input is changed: in three of four cases by `mutate`, which knows what it is made of, if that takes it;
/// otherwise by libFuzzer.
#[macro_export]
macro_rules! structured {
    ($mutate:expr) => {
        $crate::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $crate::mutate_structure(data, size, max_size, seed, $mutate)
        });
    };
}

/// One mutation of an input as a whole, or of its bytes.
pub fn mutate_structure(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    mutate: fn(&[u8], u64) -> Option<Vec<u8>>,
) -> usize {
    let mutated = data.get(..size).filter(|_| !seed.is_multiple_of(4)).and_then(|bytes| mutate(bytes, seed.into()));
    let Some(mutated) = mutated.filter(|bytes| bytes.len() <= max_size) else {
        return fuzzer_mutate(data, size, max_size);
    };
    match data.get_mut(..mutated.len()) {
        Some(place) => {
            place.copy_from_slice(&mutated);
            mutated.len()
        }
        None => size,
    }
}
