"""Writes what PyTorch's autocast makes of the two models of `models.py` in 20 training steps on the CPU.

The only argument is the folder with the files of `models.py` (`tests/data/models` in the repository). Into it goes
`autocast.json`: the losses in bfloat16, and in float16 with the loss multiplied by 1024 before gradients are taken.
How far they are from those in float32 is printed.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models import OPTIMIZERS, Cnn, Mlp, batch, initial_model

STEPS = 20
SCALE = 1024.0


def train(kind, make_optimizer, images, labels, dtype):
    model = initial_model(kind)
    optimizer = make_optimizer(model.parameters())
    losses = []
    for step in range(1, STEPS + 1):
        x, y = batch(model, images, labels, step)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            output = model(x)
        loss = nn.functional.cross_entropy(output.float(), y)
        scale = SCALE if dtype == torch.float16 else 1.0
        (loss * scale).backward()
        for parameter in model.parameters():
            parameter.grad /= scale
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data = np.load(folder / "digits160.npz")
    images, labels = data["images"], data["labels"]
    written = json.loads((folder / "expected.json").read_text())
    found = {"torch": torch.__version__.split("+")[0], "steps": STEPS, "loss_scale_of_f16": SCALE}
    for name, kind in (("mlp", Mlp), ("cnn", Cnn)):
        found[name] = {}
        for optimizer in ("sgd", "adamw"):
            single = train(kind, OPTIMIZERS[optimizer], images, labels, torch.float32)
            expected = written[name]["losses"][optimizer][:STEPS]
            if max(abs(a - b) / abs(b) for a, b in zip(single, expected)) > 1e-5:
                sys.exit("the weights are not those of expected.json; use the PyTorch that wrote it")
            found[name][optimizer] = {}
            for key, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16)):
                losses = train(kind, OPTIMIZERS[optimizer], images, labels, dtype)
                off = max(abs(a - b) for a, b in zip(losses, single)) / single[0]
                print(f"{name} {optimizer} {key}: off float32 by {off:.1e} of the first loss")
                found[name][optimizer][key] = losses
    (folder / "autocast.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
