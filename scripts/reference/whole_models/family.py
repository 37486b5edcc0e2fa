"""What a family of models is: the network, its data, and the loss that is `trainer`'s own.

A loss is written once, as the settings of `[loss]`, and computed here by the function of torch.nn.functional that these
settings name. So the exported model ends with its outputs, as a user exports it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional

INITIAL_SEED = 5
DATA_SEED = 11

# Largest relative differences that are taken for rounding.
LOSS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Loss:
    """One term of the loss, by the keys of `[loss]` in `trainer.toml`."""

    kind: str
    output: str
    target: str
    weight: float = 1.0
    settings: dict = field(default_factory=dict)

    def value(self, output, target):
        """The term as PyTorch computes it."""
        settings = dict(self.settings)
        # PyTorch counts the classes on axis 1, always; `class_axis` is the setting for models that do otherwise.
        output = output.movedim(settings.pop("class_axis", 1), 1) if self.kind == "cross_entropy" else output
        functions = {
            "cross_entropy": functional.cross_entropy,
            "mse": functional.mse_loss,
            "smooth_l1": functional.smooth_l1_loss,
            "bce_with_logits": functional.binary_cross_entropy_with_logits,
        }
        return self.weight * functions[self.kind](output, target, **settings)


@dataclass(frozen=True)
class Data:
    """Arrays by name; the first axis counts examples."""

    inputs: dict[str, np.ndarray]
    targets: dict[str, np.ndarray]

    def batch(self, first, size, dtype):
        """Tensors of the examples from `first` on, floats in `dtype`: a list of inputs and targets by name."""

        def tensor(array):
            part = torch.from_numpy(array[first : first + size])
            return part.to(dtype) if part.is_floating_point() else part

        inputs = [tensor(array) for array in self.inputs.values()]
        return inputs, {name: tensor(array) for name, array in self.targets.items()}


@dataclass(frozen=True)
class Family:
    """A network with everything that a run of it needs."""

    title: str
    make: Callable[[], nn.Module]
    data: Callable[[np.random.Generator, int], Data]
    losses: tuple[Loss, ...]
    outputs: tuple[str, ...]
    batch: int
    lr: float
    # Batches of an epoch whose steps are timed.
    timed_batches: int = 10
    # Buffers, which the older exporter writes as if they were parameters.
    freeze: tuple[str, ...] = ()
    # One with which no activation of the first step lies so near its bend that rounding decides on which side it is.
    data_seed: int = DATA_SEED
    loss_tolerance: float = LOSS_TOLERANCE
    gradient_tolerance: float = GRADIENT_TOLERANCE
    reason: str = ""

    def model(self):
        """The network with its first weights, in training mode; always the same ones."""
        torch.manual_seed(INITIAL_SEED)
        return self.make().train()

    def examples(self, count):
        """The first `count` examples; always the same ones."""
        return self.data(np.random.default_rng(self.data_seed), count)

    def loss(self, model, inputs, targets):
        """The loss of a batch."""
        found = model(*inputs)
        found = found if isinstance(found, tuple) else (found,)
        by_name = dict(zip(self.outputs, found, strict=True))
        return sum(term.value(by_name[term.output], targets[term.target]) for term in self.losses)
