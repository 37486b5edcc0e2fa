//! What a file is that is no ONNX model, told by its bytes.

/// Files that people take for a model: the bytes they begin with, what they are, and what to do.
const KINDS: &[(&[u8], &str)] = &[
    (
        b"PK\x03\x04",
        "it is a ZIP archive, as `torch.save` (.pt, .pth) and `numpy.savez` (.npz) write; export the model with `torch.onnx.export`",
    ),
    (
        b"\x80\x02",
        "it is a Python pickle, as old versions of `torch.save` write; export the model with `torch.onnx.export`",
    ),
    (b"\x1f\x8b", "it is compressed with gzip; unpack it first"),
    (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras writes; convert the model with tf2onnx"),
    (b"\x93NUMPY", "it is an array of NumPy; name it under [data]"),
    (
        b"GGUF",
        "it is a GGUF file, which holds weights for inference alone; export the model with `torch.onnx.export`",
    ),
    (
        b"version https://git-lfs",
        "it is a pointer of Git LFS in the place of the file; fetch that with `git lfs pull`",
    ),
];

/// Bytes that are looked at to tell text.
const SAMPLE_BYTES: usize = 512;

/// Largest header of a safetensors file that its own library reads.
const SAFETENSORS_HEADER_BYTES: u64 = 100_000_000;

/// What the bytes are, and what to do about it; `None` if they are nothing that is known here.
pub(super) fn recognise(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("it is empty; copy it or export the model again");
    }
    if let Some((_, what)) = KINDS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Some(what);
    }
    if bytes.get(4..8) == Some(b"ORTM") {
        return Some("it is in ONNX Runtime's own format (.ort); give the .onnx file that it was made from");
    }
    if is_safetensors(bytes) {
        return Some(
            "it is a safetensors file, which holds weights without a model; export the model with `torch.onnx.export` and name \
             the weights in `model.weights`",
        );
    }
    let is_text = |byte: &u8| byte.is_ascii_graphic() || b" \t\r\n".contains(byte);
    bytes.iter().take(SAMPLE_BYTES).all(is_text).then_some("it is text; name the .onnx file itself")
}

/// A length of eight bytes, and JSON behind it.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk() else { return false };
    u64::from_le_bytes(*length) <= SAFETENSORS_HEADER_BYTES && rest.first() == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::recognise;

    #[test]
    fn files_of_other_kinds_are_told_by_their_first_bytes() {
        let safetensors = safetensors::serialize(
            [("w", safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![1], &[7]).unwrap())],
            None,
        )
        .unwrap();
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"PK\x03\x04rest", "torch.save"),
            (b"\x80\x02}q\x00", "pickle"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
            (b"\x18\0\0\0ORTM\0", ".ort"),
            (b"[model]\nonnx = \"model.onnx\"\n", "text"),
            (&safetensors, "safetensors"),
        ] {
            assert!(recognise(bytes).is_some_and(|what| what.contains(word)), "{word}");
        }
        assert_eq!(recognise(b"\x08\x0a\x12\x07pytorch"), None);
    }
}
