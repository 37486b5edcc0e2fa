"""Writes a vector after each of 20 updates by PyTorch, for each optimizer and setting, to the JSON file named.

    tensors     what is updated: dims, `start` before the first update, `gradients` of each update
    cases       name, settings, which tensor, and `after`: the tensor after each update

PyTorch's single-tensor implementations are used, in f32; Muon's iteration too, which PyTorch rounds to bfloat16. Numbers
are the shortest decimals that read back as the same f32.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

STEPS = 20
START = [1.0, -0.5, 0.25, 3.0, -2.0, 0.001, 0.0]

# What is updated, by the number that a case has under `tensor`: a vector, a wide and a tall matrix, a batch of matrices.
DIMS = [[len(START)], [3, 5], [6, 4], [2, 3, 4]]

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

RMS = {"lr": 0.01, "alpha": 0.99, "eps": 1e-8}
NADAM = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "momentum_decay": 4e-3}
RADAM = {"lr": 0.01, "betas": [0.9, 0.99], "eps": 1e-8}
FACTOR = {"lr": 0.05, "beta2_decay": -0.8, "eps": [1.1920929e-7, 1e-3], "d": 1.0}
MUON = {"lr": 0.02, "momentum": 0.95, "nesterov": True, "weight_decay": 0.1}

CASES += [
    ("rmsprop", "rmsprop", RMS),
    ("rmsprop_weight_decay", "rmsprop", RMS | {"weight_decay": 0.05, "alpha": 0.9}),
    ("rmsprop_momentum", "rmsprop", RMS | {"momentum": 0.9}),
    ("rmsprop_centered", "rmsprop", RMS | {"centered": True, "alpha": 0.9}),
    ("rmsprop_centered_momentum", "rmsprop", RMS | {"centered": True, "momentum": 0.9, "weight_decay": 0.05}),
    ("adagrad", "adagrad", {"lr": 0.1, "lr_decay": 0.0, "eps": 1e-10}),
    ("adagrad_decays", "adagrad", {"lr": 0.1, "lr_decay": 0.1, "eps": 1e-10, "weight_decay": 0.05}),
    ("adadelta", "adadelta", {"lr": 1.0, "rho": 0.9, "eps": 1e-6}),
    ("adadelta_weight_decay", "adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.05}),
    ("nadam", "nadam", NADAM),
    ("nadam_weight_decay", "nadam", NADAM | {"weight_decay": 0.05}),
    ("nadam_decoupled", "nadam", NADAM | {"weight_decay": 0.05, "decoupled_weight_decay": True, "momentum_decay": 0.5}),
    ("radam", "radam", RADAM),
    ("radam_weight_decay", "radam", RADAM | {"weight_decay": 0.05}),
    ("radam_decoupled", "radam", RADAM | {"weight_decay": 0.05, "decoupled_weight_decay": True}),
    ("adafactor_vector", "adafactor", FACTOR),
    ("adafactor_wide", "adafactor", FACTOR | {"tensor": 1, "weight_decay": 0.05}),
    ("adafactor_tall", "adafactor", FACTOR | {"tensor": 2, "d": 1.5, "lr": 0.5}),
    ("adafactor_batch", "adafactor", FACTOR | {"tensor": 3, "beta2_decay": -0.5}),
    ("muon_wide", "muon", MUON | {"tensor": 1}),
    ("muon_tall", "muon", MUON | {"tensor": 2, "nesterov": False}),
    ("muon_as_adamw", "muon", MUON | {"tensor": 2, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0}),
    ("adamw_average", "adamw", ADAM | {"weight_decay": 0.01, "ema_decay": 0.9}),
]

CLASSES = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adafactor": torch.optim.Adafactor,
    "muon": torch.optim.Muon,
}


def decimals(values):
    return [float(str(value)) for value in np.asarray(values, dtype=np.float32)]


def tensor(dims, seed):
    """Ordinary numbers, with one component's gradient always zero, one tiny and one large."""
    count = int(np.prod(dims))
    random = np.random.default_rng(seed)
    drawn = random.normal(size=(STEPS, count)).astype(np.float32)
    drawn[:, 3] *= 100.0
    drawn[:, 5] *= 1e-9
    drawn[:, 6] = 0.0
    start = START if count == len(START) else random.normal(size=count)
    return {"dims": dims, "start": decimals(start), "gradients": [decimals(gradient) for gradient in drawn]}


def orthogonal_in_f32(update, coefficients, steps, eps):
    """`torch.optim._muon._zeropower_via_newtonschulz` without the rounding to bfloat16."""
    a, b, c = coefficients
    x = update.T if update.size(0) > update.size(1) else update
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if update.size(0) > update.size(1) else x


def run(kind, settings, given):
    settings = dict(settings)
    settings.pop("tensor", None)
    clip_norm = settings.pop("clip_norm", None)
    clip_value = settings.pop("clip_value", None)
    ema_decay = settings.pop("ema_decay", None)
    start = torch.tensor(given["start"], dtype=torch.float32).reshape(given["dims"])
    parameter = torch.nn.Parameter(start)
    settings |= {"foreach": False} if kind != "muon" else {}
    settings |= {"fused": False} if kind in ("sgd", "adam", "adamw", "adagrad") else {}
    optimizer = CLASSES[kind]([parameter], **settings)
    average = None
    if ema_decay is not None:
        module = torch.nn.Module()
        module.parameter = parameter
        update = torch.optim.swa_utils.get_ema_multi_avg_fn(ema_decay)
        average = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=update)
    after = []
    for gradient in given["gradients"]:
        parameter.grad = torch.tensor(gradient, dtype=torch.float32).reshape(given["dims"])
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_([parameter], clip_norm)
        if clip_value is not None:
            torch.nn.utils.clip_grad_value_([parameter], clip_value)
        optimizer.step()
        shown = parameter
        if average is not None:
            average.update_parameters(module)
            shown = average.module.parameter
        after.append(decimals(shown.detach().numpy().ravel()))
    return after


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    torch.set_num_threads(1)

    torch.optim._muon._zeropower_via_newtonschulz = orthogonal_in_f32

    tensors = [tensor(dims, 3 + seed) for seed, dims in enumerate(DIMS)]
    cases = [
        {"name": name, "kind": kind, **settings, "after": run(kind, settings, tensors[settings.get("tensor", 0)])}
        for name, kind, settings in CASES
    ]
    content = {"torch": torch.__version__.split("+")[0], "tensors": tensors, "cases": cases}
    file.write_text(json.dumps(content).replace("], [", "],\n[").replace("}, {", "},\n{") + "\n")


if __name__ == "__main__":
    main()
