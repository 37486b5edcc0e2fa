"""Writes the learning rate of every step as PyTorch's schedulers set it, to the JSON file named.

Each case holds the settings as this program names them, the length of the run and `lr`: the rate of update 1, 2, ...
A schedule that counts epochs is stepped after each epoch, one that counts steps after each update. Warm-up is LinearLR
in front of the schedule, joined by SequentialLR.
"""

import argparse
import json
import warnings
from pathlib import Path

import torch
from torch.optim import lr_scheduler

BASE_LR = 0.4


def schedulers(optimizer, kind, units, settings):
    """The scheduler of `kind` for a shape that lasts `units`."""
    match kind:
        case "constant":
            return lr_scheduler.ConstantLR(optimizer, factor=1.0)
        case "step":
            return lr_scheduler.StepLR(optimizer, **settings)
        case "multi_step":
            return lr_scheduler.MultiStepLR(optimizer, **settings)
        case "exponential":
            return lr_scheduler.ExponentialLR(optimizer, **settings)
        case "cosine":
            return lr_scheduler.CosineAnnealingLR(optimizer, settings.get("t_max", units), settings["eta_min"])
        case "one_cycle":
            return lr_scheduler.OneCycleLR(optimizer, BASE_LR, total_steps=units, cycle_momentum=False, **settings)
        case "polynomial":
            return lr_scheduler.PolynomialLR(optimizer, settings.get("total", units), settings["power"])


def rates(kind, unit, epochs, steps_per_epoch, warmup_steps, warmup_start, settings):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=BASE_LR)
    total_steps = epochs * steps_per_epoch
    shape = schedulers(optimizer, kind, epochs if unit == "epoch" else total_steps - warmup_steps, settings)
    if warmup_steps:
        warmup = lr_scheduler.LinearLR(optimizer, warmup_start, total_iters=warmup_steps)
        shape = lr_scheduler.SequentialLR(optimizer, [warmup, shape], [warmup_steps])
    lr = []
    for step in range(1, total_steps + 1):
        lr.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        last_update = step == total_steps
        if not last_update and (unit == "step" or step % steps_per_epoch == 0):
            shape.step()
    return lr


def plateau(losses, settings):
    """The rate of each epoch; `losses` are those at the ends of the epochs, as JSON can not hold NaN, null for it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE_LR)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **settings)
    lr = []
    for loss in losses:
        lr.append(optimizer.param_groups[0]["lr"])
        scheduler.step(float("nan") if loss is None else loss)
    return lr


def case(kind, settings=None, unit="step", epochs=5, steps_per_epoch=6, warmup_steps=0, warmup_start=0.1):
    described = {
        "kind": kind,
        "settings": settings or {},
        "unit": unit,
        "epochs": epochs,
        "steps_per_epoch": steps_per_epoch,
        "warmup_steps": warmup_steps,
        "warmup_start": warmup_start,
    }
    lr = rates(kind, unit, epochs, steps_per_epoch, warmup_steps, warmup_start, settings or {})
    return described | {"lr": lr}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    warnings.simplefilter("ignore")  # schedulers warn about the order of calls and about their own chaining

    one_cycle = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}
    shapes = [
        ("constant", {}),
        ("step", {"step_size": 4, "gamma": 0.5}),
        ("multi_step", {"milestones": [2, 3, 11], "gamma": 0.3}),
        ("multi_step", {"milestones": [3, 3, 4], "gamma": 0.5}),
        ("exponential", {"gamma": 0.9}),
        ("cosine", {"eta_min": 0.01}),
        ("cosine", {"t_max": 4, "eta_min": 0.0}),
        ("one_cycle", one_cycle),
        ("one_cycle", one_cycle | {"pct_start": 0.6, "div_factor": 4.0}),
        ("polynomial", {"power": 2.0}),
        ("polynomial", {"total": 3, "power": 0.5}),
    ]
    cases = [case(kind, settings) for kind, settings in shapes]
    cases += [case(kind, settings, unit="epoch", epochs=9, steps_per_epoch=3) for kind, settings in shapes]
    # OneCycleLR brings its own warm-up; SequentialLR can not put another in front of it.
    cases += [
        case(kind, settings, warmup_steps=7, warmup_start=start)
        for kind, settings in shapes
        if kind != "one_cycle"
        for start in (0.1, 1.0)
    ]

    flat = [1.0, 0.9, 0.95, 0.9, 0.91, 0.89995, 0.9, 0.9, None, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    negative = [-1.0, -1.00001, -1.2, -1.2, -1.1, -1.1, -1.1, -1.1]
    plateaus = [
        {"factor": 0.5, "patience": 2, "threshold": 1e-4, "cooldown": 0, "min_lr": 0.0},
        {"factor": 0.1, "patience": 0, "threshold": 1e-3, "cooldown": 2, "min_lr": 0.0},
        {"factor": 0.1, "patience": 0, "threshold": 1e-4, "cooldown": 0, "min_lr": 0.003},
        {"factor": 0.1, "patience": 0, "threshold": 1e-4, "cooldown": 0, "min_lr": 0.0},
    ]
    content = {
        "torch": torch.__version__.split("+")[0],
        "base_lr": BASE_LR,
        "cases": cases,
        "plateaus": [
            {"settings": settings, "losses": losses, "lr": plateau(losses, settings)}
            for settings in plateaus
            for losses in (flat, negative)
        ],
    }
    file.write_text(json.dumps(content).replace("}, {", "},\n{") + "\n")


if __name__ == "__main__":
    main()
