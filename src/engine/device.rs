//! Where a run computes: what the settings ask for, and what really starts.

use super::library::{Host, Runtime};
use super::probe::{self, CudaUnusable};
use super::session::Place;
use crate::config::Device;

/// The choice, with the reason for it.
#[derive(Debug)]
pub struct Chosen {
    /// Where the run computes.
    pub place: Place,
    /// Why, in words, where the settings left the choice open.
    pub reason: Option<String>,
}

/// Chooses where to compute. CUDA is taken only if a tiny model really ran on it.
///
/// # Errors
/// If the settings ask for CUDA and it does not start; the error explains why.
pub fn choose(device: Device, runtime: &Runtime, host: &Host) -> Result<Chosen, CudaUnusable> {
    match device {
        Device::Cpu => Ok(Chosen { place: Place::Cpu, reason: None }),
        Device::Cuda(ordinal) => {
            probe::cuda(runtime, host, ordinal)?;
            Ok(Chosen { place: Place::Cuda(ordinal), reason: None })
        }
        Device::Auto => Ok(match probe::cuda(runtime, host, 0) {
            Ok(()) => {
                Chosen { place: Place::Cuda(0), reason: Some("device auto: CUDA device 0 works".to_owned()) }
            }
            Err(error) => {
                Chosen { place: Place::Cpu, reason: Some(format!("device auto: {}", why_not_cuda(&error))) }
            }
        }),
    }
}

/// The fact in a few words; `trainer doctor` gives the advice that goes with it.
fn why_not_cuda(error: &CudaUnusable) -> String {
    match error {
        CudaUnusable::CpuLibrary { .. } => "this library is for the CPU only".to_owned(),
        other => {
            let text = other.to_string();
            format!("no CUDA, {}", text.split("; ").next().unwrap_or(&text))
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => out.write_str("cpu"),
            Self::Cuda(ordinal) => write!(out, "cuda:{ordinal}"),
        }
    }
}
