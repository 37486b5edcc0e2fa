#!/usr/bin/env python3
"""Checks that the Python package onnxruntime gets the reported accuracy from the model trained on the digits.

Usage: check_export.py MODEL ACCURACY. Needs onnxruntime and numpy; reads the embedded digits of this repository.
"""

import gzip
import pathlib
import struct
import sys

import numpy as np
import onnxruntime

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "src" / "data" / "digits"
TRAINING_EXAMPLES = 1438


def read_idx(path):
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    dims = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(dims)


def main():
    model, reported = sys.argv[1], float(sys.argv[2])
    images = read_idx(FOLDER / "images-idx3-ubyte.gz")[TRAINING_EXAMPLES:, None].astype(np.float32) / 16
    labels = read_idx(FOLDER / "labels-idx1-ubyte.gz")[TRAINING_EXAMPLES:]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    # One at a time and all at once: the batch axis of the exported model is free.
    one_by_one = np.concatenate([session.run(None, {name: image[None]})[0] for image in images[:8]])
    logits = session.run(None, {name: images})[0]
    assert np.allclose(one_by_one, logits[:8], atol=1e-4), "the batch size changes the result"
    accuracy = float((logits.argmax(1) == labels).mean())
    # The report is rounded to four digits.
    if abs(accuracy - reported) > 5e-5:
        sys.exit(f"model.onnx gives accuracy {accuracy:.6f}, the run reported {reported}")
    print(f"onnxruntime {onnxruntime.__version__} in Python: accuracy {accuracy:.4f}, as reported")


if __name__ == "__main__":
    main()
