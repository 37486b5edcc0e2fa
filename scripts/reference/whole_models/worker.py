"""What PyTorch does for one model, in a process of its own: its peak memory is that of this work alone.

    worker.py prepare NAME EXPORTER FOLDER    model.onnx, data.npz, timed.npz, initial.npz, run.toml
    worker.py reference NAME FOLDER           reference.npz: losses, first gradients, running statistics, in f32 and f64
    worker.py time NAME FOLDER EPOCHS         prints the seconds of each epoch over timed.npz, as JSON
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from export import aliases, export, exported_state
from families import FAMILIES
from family import Data
from settings import write_settings

STEPS = 20
# Of PyTorch's BatchNorm layers.
MOMENTUM = 0.1
THREADS = 2


def prepare(name, exporter, folder):
    """Writes what both programs begin with; prints what is said of the model as JSON."""
    family = FAMILIES[name]
    folder.mkdir(parents=True, exist_ok=True)
    export(family, exporter, folder / "model.onnx")
    model = family.model()
    state, missing = exported_state(model, folder / "model.onnx")
    np.savez(folder / "initial.npz", **state)
    for file, batches in (("data", STEPS), ("timed", family.timed_batches)):
        data = family.examples(batches * family.batch)
        np.savez(folder / f"{file}.npz", **stored(data))
    write_settings(family, family.examples(1), folder / "run.toml", threads=THREADS)
    about = {
        "title": family.title,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "missing": missing,
        "aliases": [sorted(names) for names in aliases(model).values()],
        "batch": family.batch,
        "tolerances": {"loss": family.loss_tolerance, "gradient": family.gradient_tolerance},
        "reason": family.reason,
        "torch": torch.__version__.split("+")[0],
    }
    print(json.dumps(about))


def stored(data):
    """The arrays of a data file, each under the name of the input or target that takes it."""
    return data.inputs | {name: array for name, array in data.targets.items() if name not in data.inputs}


def train(family, model, data, steps, dtype):
    """Trains with plain SGD on the batches in their order; gives the losses and the first gradients."""
    optimizer = torch.optim.SGD(model.parameters(), lr=family.lr)
    losses, gradients = [], {}
    for step in range(steps):
        inputs, targets = data.batch(step * family.batch, family.batch, dtype)
        optimizer.zero_grad()
        loss = family.loss(model, inputs, targets)
        loss.backward()
        if step == 0:
            # A parameter that the loss does not depend on has no gradient; SGD leaves it as it is.
            named = ((name, p.grad) for name, p in model.named_parameters())
            gradients = {name: g.clone() for name, g in named if g is not None}
        optimizer.step()
        losses.append(loss.item())
    return losses, gradients


def statistics(model):
    """Running statistics of batch normalisation."""
    endings = ("running_mean", "running_var")
    return {name: value for name, value in model.named_buffers() if name.endswith(endings)}


def reference(family, initial, steps, data):
    """What 20 steps come to, as arrays by name, in f32 and, to tell rounding, in f64."""
    results = {}
    for label, dtype in (("f32", torch.float32), ("f64", torch.float64)):
        model = family.model()
        model.load_state_dict({name: torch.from_numpy(value) for name, value in initial.items()})
        model.to(dtype)
        losses, gradients = train(family, model, data, steps, dtype)
        results[f"{label}/losses"] = np.array(losses)
        for name, gradient in gradients.items():
            results[f"{label}/gradient/{name}"] = gradient.to(torch.float32).numpy()
            results[f"{label}/norm/{name}"] = np.array(gradient.double().norm().item())
        for name, value in statistics(model).items():
            results[f"{label}/statistics/{name}"] = value.to(torch.float32).numpy()
    return results


def of_other_export(name, folder, initial):
    """The reference of the model's other export, if it was made of the same weights and data; `None` otherwise.

    Training does not read running statistics, which may have begun elsewhere: of that difference a known part is left.
    """
    for other in folder.parent.glob(f"{name}-*/reference.npz"):
        begun = dict(np.load(other.parent / "initial.npz"))
        same_data = (other.parent / "data.npz").read_bytes() == (folder / "data.npz").read_bytes()
        same_settings = (other.parent / "run.toml").read_text() == (folder / "run.toml").read_text()
        moving = {key for key in initial if key.endswith(("running_mean", "running_var"))}
        others = initial.keys() - moving
        equal = all(np.array_equal(initial[key], begun[key]) for key in others if not key.endswith("num_batches_tracked"))
        if other.parent == folder or not (same_data and same_settings and equal):
            continue
        found = dict(np.load(other))
        for key in moving:
            for label in ("f32", "f64"):
                left = (1.0 - MOMENTUM) ** STEPS * (initial[key] - begun[key])
                found[f"{label}/statistics/{key}"] = (found[f"{label}/statistics/{key}"] + left).astype(np.float32)
        return found
    return None


def time_epochs(family, folder, epochs):
    """Seconds of each epoch over `timed.npz`; every loss is fetched, as a user does who watches it."""
    arrays = dict(np.load(folder / "timed.npz"))
    example = family.examples(1)
    data = Data({key: arrays[key] for key in example.inputs}, {key: arrays[key] for key in example.targets})
    model = family.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=family.lr)
    seconds = []
    for _ in range(epochs):
        since = time.perf_counter()
        for step in range(family.timed_batches):
            inputs, targets = data.batch(step * family.batch, family.batch, torch.float32)
            optimizer.zero_grad()
            loss = family.loss(model, inputs, targets)
            loss.backward()
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - since)
    print(json.dumps(seconds))


def main():
    action, name = sys.argv[1:3]
    torch.set_num_threads(THREADS)
    family = FAMILIES[name]
    if action == "prepare":
        prepare(name, sys.argv[3], Path(sys.argv[4]))
    elif action == "reference":
        torch.set_num_threads(1)
        folder = Path(sys.argv[3])
        data = family.examples(STEPS * family.batch)
        initial = dict(np.load(folder / "initial.npz"))
        found = of_other_export(name, folder, initial) or reference(family, initial, STEPS, data)
        np.savez(folder / "reference.npz", **found)
    else:
        time_epochs(family, Path(sys.argv[3]), int(sys.argv[4]))


if __name__ == "__main__":
    main()
