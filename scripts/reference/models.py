"""Writes two PyTorch models, their data and what PyTorch makes of them in 50 training steps.

Every file goes to the folder given as the only argument (`tests/data/models` in the repository):

    mlp-dynamo.onnx, mlp-script.onnx    64-48-48-10 perceptron, by both exporters of PyTorch
    cnn-dynamo.onnx, cnn-script.onnx    small residual network with batch normalisation, by both exporters
    digits160.npz                       `images` f32[160,1,8,8], `labels` i64[160]
    expected.json                       losses, gradient norms, batch normalisation statistics

The perceptron takes the same images flattened to [N,64]. The batches are the examples in their order, 16 at a time,
starting over after 160. The loss is the mean cross entropy. All computation is f32 on one thread.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from source_notes import strip_source_notes
from torch import nn

BATCH_SIZE = 16
EXAMPLES = 160
STEPS = 50

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, foreach=False),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, foreach=False),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, foreach=False),
}


class Mlp(nn.Module):
    """64-48-48-10 with ReLU."""

    input_shape = (64,)

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 48)
        self.fc2 = nn.Linear(48, 48)
        self.fc3 = nn.Linear(48, 10)

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        return self.fc3(x)


class Cnn(nn.Module):
    """A residual block, overlapping and padded pools, a grouped and a strided convolution, a linear head."""

    input_shape = (1, 8, 8)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(8)
        self.block_conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.block_bn1 = nn.BatchNorm2d(8)
        self.block_conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.block_bn2 = nn.BatchNorm2d(8)
        self.max_pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=4)
        self.average_pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.strided = nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False)
        self.strided_bn = nn.BatchNorm2d(16)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.stem_bn(self.stem(x)))
        y = torch.relu(self.block_bn1(self.block_conv1(x)))
        y = self.block_bn2(self.block_conv2(y))
        x = torch.relu(x + y)
        x = self.max_pool(x)
        x = torch.relu(self.grouped(x))
        x = self.average_pool(x)
        x = torch.relu(self.strided_bn(self.strided(x)))
        x = torch.flatten(self.global_pool(x), 1)
        return self.head(x)


def digits():
    """160 digits. The dither keeps two neighbouring pixels from being equal, for otherwise the maximum of a pool
    would be tied over the empty background, and rounding alone would decide where its gradient goes."""
    bunch = load_digits()
    images = bunch.images[:EXAMPLES].astype(np.float32)
    dither = np.random.default_rng(11).random(images.shape, dtype=np.float32)
    return ((images + dither) / 17.0).reshape(-1, 1, 8, 8), bunch.target[:EXAMPLES].astype(np.int64)


def initial_model(kind):
    torch.manual_seed(5)
    return kind().train()


def batch(model, images, labels, step):
    """The batch of the 1-based `step`."""
    start = (step - 1) * BATCH_SIZE % EXAMPLES
    x = torch.from_numpy(images[start : start + BATCH_SIZE]).reshape(-1, *model.input_shape)
    return x, torch.from_numpy(labels[start : start + BATCH_SIZE])


def train(kind, make_optimizer, images, labels, dtype):
    """Losses of all steps, gradient norms of the first, and the model afterwards."""
    model = initial_model(kind).to(dtype)
    optimizer = make_optimizer(model.parameters())
    losses, gradient_norms = [], {}
    for step in range(1, STEPS + 1):
        x, y = batch(model, images, labels, step)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x.to(dtype)), y)
        loss.backward()
        if step == 1:
            gradient_norms = {
                name: parameter.grad.double().norm().item() for name, parameter in model.named_parameters()
            }
        optimizer.step()
        losses.append(loss.item())
    return losses, gradient_norms, model


def reference(kind, images, labels):
    """What a training run from the same weights should show, per optimizer."""
    result = {"gradient_norms_of_first_step": {}, "losses": {}, "running_statistics_after_last_step": {}}
    for name, make_optimizer in OPTIMIZERS.items():
        losses, gradient_norms, model = train(kind, make_optimizer, images, labels, torch.float32)
        exact, _, _ = train(kind, make_optimizer, images, labels, torch.float64)
        rounding = max(abs(a - b) / abs(b) for a, b in zip(losses, exact))
        print(f"{kind.__name__} {name}: loss {losses[0]:.4f} to {losses[-1]:.4f}, off f64 by {rounding:.1e}")
        if rounding > 2e-5:
            sys.exit("the model amplifies rounding too much to serve as a reference at 1e-4")
        result["gradient_norms_of_first_step"] = gradient_norms
        result["losses"][name] = losses
        result["running_statistics_after_last_step"][name] = {
            key: buffer.flatten().tolist()
            for key, buffer in model.named_buffers()
            if key.endswith(("running_mean", "running_var"))
        }
    return result


def export(kind, name, folder):
    """Writes the model with its initial weights by both exporters, in training mode, with a free batch axis."""
    model = initial_model(kind)
    # Two examples, because the exporter takes a dimension of one for a fixed one.
    example = torch.zeros(2, *kind.input_shape)
    shared = {"input_names": ["x"], "output_names": ["logits"], "opset_version": 18}
    torch.onnx.export(
        model,
        (example,),
        folder / f"{name}-dynamo.onnx",
        dynamo=True,
        optimize=False,
        external_data=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        **shared,
    )
    model = initial_model(kind)
    torch.onnx.export(
        model,
        (example,),
        folder / f"{name}-script.onnx",
        dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
        **shared,
    )
    for exporter in ("dynamo", "script"):
        strip_source_notes(folder / f"{name}-{exporter}.onnx")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    images, labels = digits()
    np.savez(folder / "digits160.npz", images=images, labels=labels)
    expected = {"torch": torch.__version__.split("+")[0], "batch_size": BATCH_SIZE, "steps": STEPS}
    for name, kind in (("mlp", Mlp), ("cnn", Cnn)):
        export(kind, name, folder)
        expected[name] = reference(kind, images, labels)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
