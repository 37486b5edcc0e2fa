"""Writes a vector after each of 20 updates by PyTorch, for each optimizer and setting, to the JSON file named.

    start       the vector before the first update
    gradients   the gradient of each update (the same for every case)
    cases       name, settings and `after`: the vector after each update

PyTorch's single-tensor implementations are used, in f32. Numbers are the shortest decimals that read back as the same
f32.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

STEPS = 20
START = [1.0, -0.5, 0.25, 3.0, -2.0, 0.001, 0.0]

ADAM = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}

CASES = [
    ("sgd", "sgd", {"lr": 0.1}),
    ("sgd_weight_decay", "sgd", {"lr": 0.1, "weight_decay": 0.05}),
    ("sgd_momentum", "sgd", {"lr": 0.1, "momentum": 0.9}),
    ("sgd_momentum_weight_decay", "sgd", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    ("sgd_dampening", "sgd", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("sgd_nesterov", "sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("sgd_nesterov_weight_decay", "sgd", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05}),
    ("sgd_clip_norm", "sgd", {"lr": 0.1, "momentum": 0.9, "clip_norm": 0.5}),
    ("sgd_clip_value", "sgd", {"lr": 0.1, "momentum": 0.9, "clip_value": 0.2}),
    ("adam", "adam", ADAM),
    ("adam_weight_decay", "adam", ADAM | {"weight_decay": 0.05}),
    ("adam_small_beta1", "adam", ADAM | {"betas": [0.3, 0.99]}),
    ("adam_large_eps", "adam", ADAM | {"eps": 0.1}),
    ("adamw", "adamw", ADAM | {"weight_decay": 0.01}),
    ("adamw_no_decay", "adamw", ADAM),
    ("adamw_strong_decay", "adamw", ADAM | {"lr": 0.1, "weight_decay": 0.5, "betas": [0.8, 0.95]}),
]

CLASSES = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def decimals(values):
    return [float(str(value)) for value in np.asarray(values, dtype=np.float32)]


def gradients():
    """Ordinary gradients, with one component always zero, one tiny and one large."""
    drawn = np.random.default_rng(3).normal(size=(STEPS, len(START))).astype(np.float32)
    drawn[:, 3] *= 100.0
    drawn[:, 5] *= 1e-9
    drawn[:, 6] = 0.0
    return drawn


def run(kind, settings, steps):
    settings = dict(settings)
    clip_norm = settings.pop("clip_norm", None)
    clip_value = settings.pop("clip_value", None)
    parameter = torch.nn.Parameter(torch.tensor(START, dtype=torch.float32))
    optimizer = CLASSES[kind]([parameter], foreach=False, fused=False, **settings)
    after = []
    for gradient in steps:
        parameter.grad = torch.from_numpy(gradient.copy())
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_([parameter], clip_norm)
        if clip_value is not None:
            torch.nn.utils.clip_grad_value_([parameter], clip_value)
        optimizer.step()
        after.append(decimals(parameter.detach().numpy()))
    return after


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    torch.set_num_threads(1)

    steps = gradients()
    cases = [
        {"name": name, "kind": kind, **settings, "after": run(kind, settings, steps)} for name, kind, settings in CASES
    ]
    content = {
        "torch": torch.__version__.split("+")[0],
        "start": decimals(START),
        "gradients": [decimals(gradient) for gradient in steps],
        "cases": cases,
    }
    file.write_text(json.dumps(content).replace("], [", "],\n[").replace("}, {", "},\n{") + "\n")


if __name__ == "__main__":
    main()
