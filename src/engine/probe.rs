//! Which execution providers really start here, and why one does not.
//!
//! ONNX Runtime can only say which providers it was built with. Whether one starts depends on libraries, driver and
//! device, so a tiny model is run on it and its result is looked at. What ONNX Runtime says on failure is turned into
//! what the user can do. Its texts are those of ONNX Runtime 1.31, and the numbers in them those of `cudaError_t`.

use std::path::{Path, PathBuf};

use ort::ep::CUDA;
use ort::session::Session;
use ort::value::Tensor;
use thiserror::Error;

use crate::engine::library::elf;
use crate::engine::library::load::reason_of;
use crate::engine::library::wheels::project_with;
use crate::engine::library::{Bundle, Host, Runtime};

/// The CUDA libraries, each after the ones it needs. They are loaded from their folder one by one, so that ONNX
/// Runtime, which asks for them by name alone, finds them already there, wherever they are kept.
const CUDA_LIBRARIES: &[&str] = &[
    "libcudart.so.13",
    "libcublasLt.so.13",
    "libcublas.so.13",
    "libcurand.so.10",
    "libnvrtc-builtins.so.13.0",
    "libnvrtc.so.13",
    "libcufft.so.12",
    "libcudnn.so.9",
    "libcudnn_graph.so.9",
    "libcudnn_ops.so.9",
    "libcudnn_cnn.so.9",
    "libcudnn_adv.so.9",
    "libcudnn_heuristic.so.9",
    "libcudnn_engines_runtime_compiled.so.9",
    "libcudnn_engines_precompiled.so.9",
];

/// Side of the square of ones that the model is given.
const SIDE: i64 = 3;
/// What the model makes of it: the convolution of the square with itself is 9, and 9 times 9 is 81.
const EXPECTED: f32 = 81.0;

/// Why CUDA does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CudaUnusable {
    /// The library was built without CUDA.
    #[error(
        "{library} is ONNX Runtime for the CPU; run `trainer setup --cuda`, or name the library of an onnxruntime-gpu \
         package with --ort-lib"
    )]
    CpuLibrary {
        /// The loaded library.
        library: PathBuf,
    },
    /// The part of ONNX Runtime that drives CUDA does not lie beside the library.
    #[error(
        "{missing} is not beside {library}; keep the libraries of the onnxruntime-gpu package in one folder, or run \
         `trainer setup --cuda`"
    )]
    NoProviderLibrary {
        /// The file that is missing.
        missing: String,
        /// The loaded library.
        library: PathBuf,
    },
    /// A library of CUDA or cuDNN is missing.
    #[error(
        "{missing} is missing{}; run `trainer setup --cuda`, or install it and put its folder on LD_LIBRARY_PATH",
        package.map(|package| format!(" (the PyPI package {package} has it)")).unwrap_or_default()
    )]
    MissingLibrary {
        /// The file, as the dynamic loader asks for it.
        missing: String,
        /// The PyPI package that has it.
        package: Option<&'static str>,
    },
    /// A library of CUDA or cuDNN is there and can not be loaded.
    #[error("{library} cannot be loaded: {reason}; delete its folder and run `trainer setup --cuda`")]
    DamagedLibrary {
        /// The file.
        library: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The NVIDIA driver is not installed.
    #[error(
        "there is no NVIDIA driver (libcuda.so.1 is missing); install it, version 580 or newer, or in a container start \
         it with the GPU (`docker run --gpus all`)"
    )]
    NoDriver,
    /// The driver is older than the CUDA libraries.
    #[error("the NVIDIA driver is too old for CUDA 13; install version 580 or newer")]
    DriverTooOld,
    /// The driver finds no GPU.
    #[error(
        "the NVIDIA driver finds no GPU; check `nvidia-smi` and CUDA_VISIBLE_DEVICES, and in a container or a job that \
         a GPU was asked for"
    )]
    NoDevice,
    /// There are GPUs, but not so many.
    #[error("there is no GPU number {ordinal}; `nvidia-smi -L` lists them, counting from 0")]
    NoSuchDevice {
        /// The asked one.
        ordinal: u32,
    },
    /// The GPU is of a kind that this library has no code for.
    #[error(
        "this library has no code for GPU number {ordinal} (its generation is too old or too new): {reason}"
    )]
    NoKernelForDevice {
        /// The asked one.
        ordinal: u32,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// Other programs have taken the GPU's memory, or the GPU itself.
    #[error("GPU number {ordinal} is taken by other programs (see `nvidia-smi`): {reason}")]
    Busy {
        /// The asked one.
        ordinal: u32,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// It runs, and its results are wrong.
    #[error("GPU number {ordinal} computed {found} where {EXPECTED} is right; do not train on it")]
    WrongResult {
        /// The asked one.
        ordinal: u32,
        /// What it computed.
        found: f32,
    },
    /// Anything else.
    #[error("CUDA does not start: {reason}")]
    Other {
        /// What ONNX Runtime said.
        reason: String,
    },
}

/// Runs a tiny model on the CPU execution provider.
///
/// # Errors
/// What ONNX Runtime says; a result other than expected is reported in the same way.
pub fn cpu(runtime: &Runtime) -> Result<(), ort::Error> {
    let found = run_model(Session::builder(runtime.environment())?)?;
    let wrong = || ort::Error::new(format!("the CPU computed {found} where {EXPECTED} is right"));
    if found == EXPECTED { Ok(()) } else { Err(wrong()) }
}

/// Runs a tiny model on the CUDA execution provider, on the GPU with this ordinal, through cuBLAS and cuDNN.
///
/// Before that it loads the CUDA libraries that lie beside the ONNX Runtime library or in the cache folder; they stay
/// loaded, so sessions made later need no search path. Where neither has one, the system's loader looks for it.
///
/// # Errors
/// See [`CudaUnusable`]; each says what to do.
pub fn cuda(runtime: &Runtime, host: &Host, ordinal: u32) -> Result<(), CudaUnusable> {
    let beside = runtime.path.parent().map(Path::to_path_buf);
    let cached = host.cache_folder().map(|cache| Bundle::Cuda.folder(&cache));
    let folders: Vec<_> = beside.into_iter().chain(cached).collect();
    check_whole_providers(&runtime.path)?;
    // A CPU library says so itself; loading a gigabyte for it first would be in vain.
    let preloaded = if has_cuda_provider(&runtime.path) { preload(&folders) } else { Ok(()) };
    let found = Session::builder(runtime.environment())
        .and_then(|builder| {
            let device = i32::try_from(ordinal).unwrap_or(i32::MAX);
            let provider = CUDA::default().with_device_id(device).build().error_on_failure();
            Ok(builder.with_execution_providers([provider])?)
        })
        .and_then(run_model);
    match found {
        Ok(EXPECTED) => Ok(()),
        Ok(found) => Err(CudaUnusable::WrongResult { ordinal, found }),
        // A library that could not be loaded from its place explains more than what followed from that.
        Err(error) => {
            Err(preloaded.err().unwrap_or_else(|| explain(error.message(), &runtime.path, ordinal)))
        }
    }
}

/// ONNX Runtime loads these by itself from beside its library, and a truncated one would kill the process.
fn check_whole_providers(library: &Path) -> Result<(), CudaUnusable> {
    let beside = ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"]
        .map(|name| library.with_file_name(name));
    for library in beside.into_iter().filter(|path| path.is_file()) {
        elf::check(&library)
            .map_err(|error| CudaUnusable::DamagedLibrary { library, reason: error.to_string() })?;
    }
    Ok(())
}

fn has_cuda_provider(library: &Path) -> bool {
    library.parent().is_some_and(|folder| folder.join("libonnxruntime_providers_cuda.so").is_file())
}

/// Loads each CUDA library from the first of `folders` that has it.
fn preload(folders: &[PathBuf]) -> Result<(), CudaUnusable> {
    for name in CUDA_LIBRARIES {
        let Some(library) = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()) else {
            continue;
        };
        let damaged = |reason: String| CudaUnusable::DamagedLibrary { library: library.clone(), reason };
        elf::check(&library).map_err(|error| damaged(error.to_string()))?;
        if let Err(error) = ort::util::preload_dylib(&library) {
            let reason = reason_of(&error);
            return Err(missing_in(&reason).map_or_else(|| damaged(reason.clone()), of_missing_library));
        }
    }
    Ok(())
}

/// What a failure text of ONNX Runtime means.
fn explain(text: &str, library: &Path, ordinal: u32) -> CudaUnusable {
    let says = |part: &str| text.contains(part);
    let reason = text.trim().to_owned();
    if says("is not enabled in this build") {
        return CudaUnusable::CpuLibrary { library: library.to_path_buf() };
    }
    if let Some(missing) = missing_in(text) {
        return if missing.starts_with("libonnxruntime_providers") {
            CudaUnusable::NoProviderLibrary { missing: missing.to_owned(), library: library.to_path_buf() }
        } else {
            of_missing_library(missing)
        };
    }
    match cuda_error_number(text) {
        Some(35 | 803) => CudaUnusable::DriverTooOld,
        // The driver's library lacks a function of the driver interface, whose names begin so.
        _ if says("undefined symbol: cu") => CudaUnusable::DriverTooOld,
        Some(100) => CudaUnusable::NoDevice,
        Some(101) => CudaUnusable::NoSuchDevice { ordinal },
        Some(209 | 222) => CudaUnusable::NoKernelForDevice { ordinal, reason },
        Some(2 | 46) => CudaUnusable::Busy { ordinal, reason },
        _ if says("Invalid device ordinal") => CudaUnusable::NoSuchDevice { ordinal },
        _ => CudaUnusable::Other { reason },
    }
}

fn of_missing_library(missing: &str) -> CudaUnusable {
    if missing == "libcuda.so.1" {
        CudaUnusable::NoDriver
    } else {
        CudaUnusable::MissingLibrary { missing: missing.to_owned(), package: project_with(missing) }
    }
}

/// The file name before the dynamic loader's `: cannot open shared object file`.
fn missing_in(text: &str) -> Option<&str> {
    let (before, _) = text.split_once(": cannot open shared object file")?;
    let name = before.rsplit(|char: char| char.is_whitespace() || char == '/').next()?;
    Some(name).filter(|name| !name.is_empty())
}

/// The number in `CUDA failure 100: no CUDA-capable device is detected`.
fn cuda_error_number(text: &str) -> Option<u32> {
    let (_, after) = text.split_once("CUDA failure ")?;
    after.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

fn run_model(mut builder: ort::session::builder::SessionBuilder) -> Result<f32, ort::Error> {
    let mut session = builder.commit_from_memory(&model())?;
    let ones = Tensor::from_array(([1, 1, SIDE, SIDE], vec![1.0_f32; (SIDE * SIDE) as usize]))?;
    let outputs = session.run(ort::inputs!["x" => ones])?;
    let output = outputs.get("y").ok_or_else(|| ort::Error::new("the model gave no output y"))?;
    let (_, values) = output.try_extract_tensor::<f32>()?;
    values.first().copied().ok_or_else(|| ort::Error::new("the model gave an empty output"))
}

/// `y = MatMul(c, c)` with `c = Conv(x, x)`, as the bytes of an ONNX file: one operator of cuDNN and one of cuBLAS.
///
/// Field numbers are those of the ONNX specification (`onnx.proto`). The graph is written out here, rather than with
/// the graph module, so that looking at a machine does not depend on it.
fn model() -> Vec<u8> {
    let node = |inputs: [&str; 2], output: &str, operator: &str| {
        let inputs = inputs.map(|input| field(1, input.as_bytes())).concat();
        [inputs, field(2, output.as_bytes()), field(3, output.as_bytes()), field(4, operator.as_bytes())]
            .concat()
    };
    let value = |name: &str, side: i64| {
        let dimensions = [1, 1, side, side].map(|size| field(1, &number(1, size.unsigned_abs()))).concat();
        // TensorProto.FLOAT = 1
        let tensor = [number(1, 1), field(2, &dimensions)].concat();
        [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
    };
    let graph = [
        field(1, &node(["x", "x"], "c", "Conv")),
        field(1, &node(["c", "c"], "y", "MatMul")),
        field(2, b"probe"),
        field(11, &value("x", SIDE)),
        field(12, &value("y", 1)),
    ]
    .concat();
    let (ir_version, opset) = (number(1, 8), number(2, 13));
    [ir_version, field(7, &graph), field(8, &opset)].concat()
}

/// A protobuf field of type bytes, string or message.
fn field(tag: u64, content: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// A protobuf field of type integer.
fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

/// Seven bits a byte, lowest first; the eighth bit says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests;
