"""The two networks that are timed. Run as a program, it writes each as `<model>.onnx`, and its batches as
`<model>.npz` (`x` f32[1024, ...], `y` i64[1024]), to the folder named."""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

BATCH_SIZE = 64
BATCHES = 16
INPUT_SHAPES = {"mlp": (784,), "cnn": (1, 28, 28)}


def network(name):
    torch.manual_seed(1)
    if name == "mlp":
        return nn.Sequential(
            nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 14 * 14, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def batches(name):
    """Noise around one random image per class: easy to learn, so that losses fall and can be compared."""
    rng = np.random.default_rng(2)
    shape = INPUT_SHAPES[name]
    labels = rng.integers(0, 10, BATCH_SIZE * BATCHES)
    centers = rng.normal(size=(10, *shape)).astype(np.float32)
    images = centers[labels] * 0.1 + rng.normal(size=(len(labels), *shape)).astype(np.float32)
    return images.astype(np.float32), labels.astype(np.int64)


def export(name, folder):
    images, labels = batches(name)
    np.savez(folder / f"{name}.npz", x=images, y=labels)
    # The older exporter, because ONNX Runtime Training 1.19.2 reads what it writes.
    torch.onnx.export(
        network(name).train(),
        (torch.from_numpy(images[:2]),),
        folder / f"{name}.onnx",
        dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        opset_version=17,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for model in INPUT_SHAPES:
        export(model, folder)
