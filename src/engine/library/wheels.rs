//! The packages this program fetches: exact versions, their SHA-256, and the files of each that are kept.
//!
//! One wheel is pinned per processor, built for one fixed Python, and asked for by its tags, whatever Python runs the
//! package client: the libraries inside are the same for every Python. To move to another version: change the
//! versions here, download each wheel with the client, and take the sums (`sha256sum`) and the sizes (`unzip -lv`)
//! from it; the tests below say what has to agree.

use std::path::{Path, PathBuf};

/// The version of ONNX Runtime that is fetched.
pub const ONNX_RUNTIME_VERSION: &str = "1.31.1";

/// The C library inside the ONNX Runtime wheels.
pub const ONNX_RUNTIME_FILE: &str = "libonnxruntime.so.1.31.1";

/// Which set of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bundle {
    /// ONNX Runtime for the CPU: one library.
    Cpu,
    /// ONNX Runtime with the CUDA execution provider, and the CUDA libraries that it loads.
    Cuda,
}

/// One wheel of a package index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// The project's name on the package index.
    pub project: &'static str,
    /// Its exact version.
    pub version: &'static str,
    /// The platform tag the client is asked for.
    pub platform: &'static str,
    /// SHA-256 of the whole wheel, in lower-case hex.
    pub sha256: &'static str,
    /// Size of the wheel.
    pub size_bytes: u64,
    /// The folder inside the wheel that holds the files to keep, without a slash at the end.
    pub folder: &'static str,
    /// The files to keep, and their sizes when unpacked.
    pub members: &'static [Member],
}

/// A file inside a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its name, inside the wheel's folder and in the cache.
    pub name: &'static str,
    /// Its size when unpacked.
    pub size_bytes: u64,
}

impl Bundle {
    /// The name of the bundle's folder in the cache, and its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }

    /// The bundle's folder below the cache folder.
    pub fn folder(self, cache: &Path) -> PathBuf {
        cache.join(format!("onnxruntime-{ONNX_RUNTIME_VERSION}")).join(self.name())
    }

    /// The wheels for the machine this program was built for; empty if none are pinned for it.
    pub fn wheels(self) -> &'static [Wheel] {
        self.wheels_for(std::env::consts::OS, std::env::consts::ARCH)
    }

    fn wheels_for(self, os: &str, arch: &str) -> &'static [Wheel] {
        match (self, os, arch) {
            (Self::Cpu, "linux", "x86_64") => CPU_X86_64,
            (Self::Cpu, "linux", "aarch64") => CPU_AARCH64,
            (Self::Cuda, "linux", "x86_64") => CUDA_X86_64,
            _ => &[],
        }
    }
}

/// What is to be downloaded for these wheels.
pub fn download_bytes(wheels: &[Wheel]) -> u64 {
    wheels.iter().map(|wheel| wheel.size_bytes).sum()
}

/// What the kept files of these wheels take on the disk.
pub fn unpacked_bytes(wheels: &[Wheel]) -> u64 {
    wheels.iter().flat_map(|wheel| wheel.members).map(|member| member.size_bytes).sum()
}

/// The project whose wheel has the library `name` (as the dynamic loader asks for it: `libcublas.so.13`).
pub fn project_with(name: &str) -> Option<&'static str> {
    let has_it = |wheel: &&Wheel| wheel.members.iter().any(|member| member.name == name);
    CUDA_X86_64.iter().find(has_it).map(|wheel| wheel.project)
}

const fn member(name: &'static str, size_bytes: u64) -> Member {
    Member { name, size_bytes }
}

const CPU_X86_64: &[Wheel] = &[Wheel {
    project: "onnxruntime",
    version: ONNX_RUNTIME_VERSION,
    platform: "manylinux_2_28_x86_64",
    sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
    size_bytes: 23_760_988,
    folder: "onnxruntime/capi",
    members: &[member(ONNX_RUNTIME_FILE, 29_352_200)],
}];

const CPU_AARCH64: &[Wheel] = &[Wheel {
    project: "onnxruntime",
    version: ONNX_RUNTIME_VERSION,
    platform: "manylinux_2_28_aarch64",
    sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
    size_bytes: 21_420_803,
    folder: "onnxruntime/capi",
    members: &[member(ONNX_RUNTIME_FILE, 25_265_040)],
}];

/// ONNX Runtime 1.31.1 is built for CUDA 13.0; these are the libraries of CUDA 13.0 and a cuDNN 9 for it, which run
/// on every driver from version 580 on. The order is the order in which they are downloaded.
const CUDA_X86_64: &[Wheel] = &[
    Wheel {
        project: "onnxruntime-gpu",
        version: ONNX_RUNTIME_VERSION,
        platform: "manylinux_2_28_x86_64",
        sha256: "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
        size_bytes: 255_569_273,
        folder: "onnxruntime/capi",
        members: &[
            member(ONNX_RUNTIME_FILE, 29_421_832),
            member("libonnxruntime_providers_cuda.so", 284_014_752),
            member("libonnxruntime_providers_shared.so", 14_632),
        ],
    },
    Wheel {
        project: "nvidia-cuda-runtime",
        version: "13.0.96",
        platform: "manylinux2014_x86_64",
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        size_bytes: 2_243_632,
        folder: "nvidia/cu13/lib",
        members: &[member("libcudart.so.13", 704_288)],
    },
    Wheel {
        project: "nvidia-cublas",
        version: "13.0.2.14",
        platform: "manylinux_2_27_x86_64",
        sha256: "0cf238ffdbe46c00cb9aa98e7bca745c223a5ca5a53e686ac8b3e5a08fe80d6c",
        size_bytes: 420_882_912,
        folder: "nvidia/cu13/lib",
        members: &[member("libcublasLt.so.13", 539_533_072), member("libcublas.so.13", 54_440_120)],
    },
    Wheel {
        project: "nvidia-curand",
        version: "10.4.0.35",
        platform: "manylinux_2_27_x86_64",
        sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        size_bytes: 59_544_258,
        folder: "nvidia/cu13/lib",
        members: &[member("libcurand.so.10", 132_698_328)],
    },
    Wheel {
        project: "nvidia-cuda-nvrtc",
        version: "13.0.88",
        platform: "manylinux2010_x86_64",
        sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        size_bytes: 90_215_200,
        folder: "nvidia/cu13/lib",
        members: &[member("libnvrtc-builtins.so.13.0", 4_380_616), member("libnvrtc.so.13", 109_338_064)],
    },
    Wheel {
        project: "nvidia-cufft",
        version: "12.0.0.61",
        platform: "manylinux2014_x86_64",
        sha256: "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        size_bytes: 214_085_489,
        folder: "nvidia/cu13/lib",
        members: &[member("libcufft.so.12", 286_542_352)],
    },
    Wheel {
        project: "nvidia-cudnn-cu13",
        version: "9.19.0.56",
        platform: "manylinux_2_27_x86_64",
        sha256: "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
        size_bytes: 366_066_321,
        folder: "nvidia/cudnn/lib",
        members: &[
            member("libcudnn.so.9", 129_240),
            member("libcudnn_graph.so.9", 4_451_728),
            member("libcudnn_ops.so.9", 39_855_888),
            member("libcudnn_cnn.so.9", 4_203_904),
            member("libcudnn_adv.so.9", 109_169_104),
            member("libcudnn_heuristic.so.9", 60_822_040),
            member("libcudnn_engines_runtime_compiled.so.9", 29_386_400),
            member("libcudnn_engines_precompiled.so.9", 245_391_920),
        ],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [&[Wheel]; 3] = [CPU_X86_64, CPU_AARCH64, CUDA_X86_64];

    #[test]
    fn every_bundle_has_the_library_and_no_file_twice() {
        for wheels in ALL {
            let names: Vec<_> = wheels.iter().flat_map(|wheel| wheel.members).map(|one| one.name).collect();
            assert!(names.contains(&ONNX_RUNTIME_FILE));
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        }
    }

    #[test]
    fn every_pin_is_a_whole_sha_256_of_its_own_and_the_file_is_named_after_the_version() {
        let sums: Vec<_> = ALL.iter().flat_map(|wheels| wheels.iter()).map(|wheel| wheel.sha256).collect();
        assert_eq!(sums.iter().collect::<BTreeSet<_>>().len(), sums.len());
        for sum in sums {
            assert!(sum.len() == 64 && sum.bytes().all(|byte| b"0123456789abcdef".contains(&byte)), "{sum}");
        }
        assert_eq!(ONNX_RUNTIME_FILE, format!("libonnxruntime.so.{ONNX_RUNTIME_VERSION}"));
    }

    #[test]
    fn a_machine_without_pinned_wheels_has_none() {
        assert_eq!(Bundle::Cpu.wheels_for("linux", "riscv64"), &[]);
        assert_eq!(Bundle::Cuda.wheels_for("linux", "aarch64"), &[]);
    }

    #[test]
    fn a_cuda_library_is_traced_to_the_package_that_has_it() {
        assert_eq!(project_with("libcublasLt.so.13"), Some("nvidia-cublas"));
        assert_eq!(project_with("libcudnn_graph.so.9"), Some("nvidia-cudnn-cu13"));
        assert_eq!(project_with("libcuda.so.1"), None);
    }
}
