use std::fs;

use super::*;
use crate::engine::library::elf::tests::some_library;

#[track_caller]
fn check_explained(text: &str, expected: &[&str]) {
    let message = explain(text, Path::new("/lib/libonnxruntime.so"), 3).to_string();
    for part in expected {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn a_library_without_cuda_leads_to_the_set_up() {
    check_explained(
        "CUDA execution provider is not enabled in this build. ",
        &["/lib/libonnxruntime.so", "for the CPU", "trainer setup --cuda"],
    );
}

#[test]
fn a_missing_library_is_named_with_the_package_that_has_it() {
    let text = "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2210 Failed to load library \
                /c/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: \
                No such file or directory";
    check_explained(text, &["libcublasLt.so.13 is missing", "nvidia-cublas", "trainer setup --cuda"]);
    check_explained("libfoo.so.1: cannot open shared object file", &["libfoo.so.1 is missing;"]);
    check_explained(
        "error: /c/libonnxruntime_providers_shared.so: cannot open shared object file: No such file",
        &["libonnxruntime_providers_shared.so is not beside /lib/libonnxruntime.so"],
    );
}

#[test]
fn driver_and_device_are_told_apart() {
    check_explained(
        "with error: libcuda.so.1: cannot open shared object file",
        &["no NVIDIA driver", "--gpus"],
    );
    check_explained("CUDA failure 35: driver version is insufficient", &["too old", "580"]);
    check_explained(
        "CUDA failure 100: no CUDA-capable device is detected ; GPU=0",
        &["finds no GPU", "nvidia-smi"],
    );
    check_explained("CUDA failure 101: invalid device ordinal ; GPU=3", &["no GPU number 3"]);
    check_explained("CUDA failure 209: no kernel image is available", &["no code for GPU number 3"]);
    check_explained("CUDA failure 2: out of memory", &["taken by other programs"]);
}

#[test]
fn an_unknown_failure_is_quoted() {
    check_explained(
        " CUDA failure 719: unspecified launch failure \n",
        &["CUDA failure 719: unspecified launch failure"],
    );
    check_explained("CUDA failure ", &["CUDA does not start"]);
    check_explained(": cannot open shared object file", &["CUDA does not start"]);
}

#[test]
fn a_damaged_cuda_library_is_named_and_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(some_library()).unwrap();
    fs::write(folder.path().join("libcublas.so.13"), &whole[..whole.len() / 2]).unwrap();
    let message = preload(&[folder.path().to_path_buf()]).unwrap_err().to_string();
    assert!(message.contains("libcublas.so.13 cannot be loaded") && message.contains("cut off"), "{message}");
}

#[test]
fn a_damaged_provider_is_named_before_onnx_runtime_loads_it() {
    let folder = tempfile::tempdir().unwrap();
    let provider = folder.path().join("libonnxruntime_providers_cuda.so");
    fs::write(&provider, "half a file").unwrap();
    let library = folder.path().join("libonnxruntime.so");
    let message = check_whole_providers(&library).unwrap_err().to_string();
    assert!(message.contains(provider.to_str().unwrap()), "{message}");
    fs::copy(some_library(), &provider).unwrap();
    check_whole_providers(&library).unwrap();
}

#[test]
fn folders_without_cuda_libraries_preload_nothing() {
    preload(&[PathBuf::from("/nowhere")]).unwrap();
}

#[test]
fn every_preloaded_library_is_pinned() {
    for name in CUDA_LIBRARIES {
        assert!(project_with(name).is_some(), "{name}");
    }
}

#[test]
fn integers_are_encoded_as_protobuf_does() {
    assert_eq!(varint(1), [1]);
    assert_eq!(varint(300), [0xAC, 0x02]);
    assert_eq!(field(2, b"testing"), b"\x12\x07testing");
}
