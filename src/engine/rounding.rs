//! Whether ONNX Runtime rounds where a graph casts to 16 bits and back.
//!
//! On the CPU nothing else makes 16-bit numbers of what is computed (`graph::precision`). Optimizations that take a pair
//! of casts for superfluous would turn training with 16 bits silently into training with 32, so it is tried before.

use super::error::{EngineError, ErrorClass};
use super::library::Runtime;
use super::oracle::tensor_of;
use super::session::{Optimize, Place, open};
use crate::graph::emit::Emit;
use crate::graph::model::Graph;
use crate::graph::tensor::{Dtype, ValueType};
use ort::value::Tensor as OrtTensor;

/// Ties between two numbers of bfloat16, ordinary numbers, and the borders of float16 to infinity and to zero.
const PROBES: [f32; 8] = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 0.1, -3.3, 255.0, 65_520.0, 2.98e-8, 1e-3];

/// Tries it between products, as training graphs have them.
///
/// # Errors
/// If the numbers that come out are not those of `low`.
pub fn check(runtime: &Runtime, low: Dtype) -> Result<(), EngineError> {
    let work = || format!("rounding to {low} on the CPU");
    let failed = |error: ort::Error| EngineError::new(work(), &error);
    let mut session = open(runtime, Place::Cpu, &probe(low), Optimize::Everything)?;
    let input = OrtTensor::from_array(([PROBES.len()], PROBES.to_vec())).map_err(failed)?;
    let outputs = session.run(ort::inputs!["x" => input]).map_err(failed)?;
    let found = outputs.get("y").and_then(tensor_of).and_then(|tensor| tensor.to_f32());
    for (at, probe) in PROBES.iter().enumerate() {
        let expected = rounded(rounded(*probe, low) * rounded(*probe, low), low);
        let found = found.as_ref().and_then(|found| found.get(at)).copied().unwrap_or(f32::NAN);
        if found.to_bits() != expected.to_bits() {
            let message = format!(
                "{probe} squared is {found} in ONNX Runtime {}, expected {expected}: it does not round there; use ONNX \
                 Runtime 1.31, or `train.precision = \"f32\"`",
                runtime.version
            );
            return Err(EngineError { work: work(), class: ErrorClass::Other, message });
        }
    }
    Ok(())
}

/// y = round(round(x) round(x))
fn probe(low: Dtype) -> Graph {
    let mut emit = Emit::new(18, Vec::new());
    emit.set_scope("rounding");
    let x = emit.declare("x", ValueType::new(Dtype::F32, vec![PROBES.len()]));
    let narrow = emit.cast(x, low);
    let wide = emit.cast(narrow, Dtype::F32);
    let square = emit.mul(wide, wide);
    let narrow = emit.cast(square, low);
    let wide = emit.cast(narrow, Dtype::F32);
    let y = emit.name_output(wide, "y");
    emit.finish("rounding", &[x], &[y])
}

fn rounded(number: f32, low: Dtype) -> f32 {
    if low == Dtype::Bf16 {
        half::bf16::from_f32(number).to_f32()
    } else {
        half::f16::from_f32(number).to_f32()
    }
}
