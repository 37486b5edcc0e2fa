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
        np.savez(folder / "reference.npz", **reference(family, initial, STEPS, data))
    else:
        time_epochs(family, Path(sys.argv[3]), int(sys.argv[4]))


if __name__ == "__main__":
    main()
