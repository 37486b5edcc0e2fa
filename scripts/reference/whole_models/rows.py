"""Networks for rows of a table, and their data."""

import numpy as np
import torch
from family import Data
from torch import nn

# Two activations are left out: RReLU draws its slopes in training mode, and of Threshold the older exporter knows only
# the one at 0, which is ReLU.
ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    lambda: nn.GELU(approximate="tanh"),
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
    nn.Sigmoid,
    nn.LogSigmoid,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh,
    nn.Tanhshrink,
    nn.Softshrink,
    nn.Hardshrink,
    nn.GLU,
    lambda: nn.Softmax(1),
    lambda: nn.Softmin(1),
    lambda: nn.LogSoftmax(1),
)


def clusters(width, classes=10):
    """Rows of numbers around a centre for each class."""

    def make(rng, count):
        centres = rng.standard_normal((classes, width), dtype=np.float32)
        labels = rng.integers(0, classes, count)
        rows = centres[labels] + rng.standard_normal((count, width), dtype=np.float32)
        return Data({"x": rows}, {"label": labels})

    return make


def mixed(sizes, numbers):
    """Rows of categories and numbers, and an answer of yes or no."""

    def make(rng, count):
        categories = np.stack([rng.integers(0, size, count) for size in sizes], 1)
        values = (3 * rng.standard_normal((count, numbers)) + 1).astype(np.float32)
        answer = (categories[:, 0] % 2 + values[:, 0] > 1).astype(np.float32)
        return Data({"categories": categories, "values": values}, {"answer": answer})

    return make


class EveryActivation(nn.Module):
    """A layer and an activation for each kind, side by side, and a layer over all of them."""

    def __init__(self, inputs, width, classes=10):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(inputs, width) for _ in ACTIVATIONS])
        self.activations = nn.ModuleList([make() for make in ACTIVATIONS])
        self.head = nn.LazyLinear(classes)
        self(torch.zeros(2, inputs))

    def forward(self, x):
        pairs = zip(self.layers, self.activations)
        return self.head(torch.cat([activation(layer(x)) for layer, activation in pairs], 1))


class Tabular(nn.Module):
    """An embedding for each category, normalised numbers, and a perceptron over both."""

    def __init__(self, sizes, numbers, width):
        super().__init__()
        widths = [min(50, (size + 1) // 2) for size in sizes]
        self.embeddings = nn.ModuleList([nn.Embedding(size, wide) for size, wide in zip(sizes, widths)])
        self.norm = nn.BatchNorm1d(numbers)
        self.mlp = nn.Sequential(
            nn.Linear(sum(widths) + numbers, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width // 2),
            nn.ReLU(),
            nn.Linear(width // 2, 1),
        )

    def forward(self, categories, values):
        parts = [embedding(categories[:, at]) for at, embedding in enumerate(self.embeddings)]
        return self.mlp(torch.cat([*parts, self.norm(values)], 1)).squeeze(1)
