"""What the contenders written in Python share: their command line, the timing, and the line they print."""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np

BATCH_SIZE = 64


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", choices=["mlp", "cnn"])
    parser.add_argument("--steps", type=int, required=True, help="steps to time")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--env", type=Path, required=True, help="folder with <model>.onnx and <model>.npz")
    return parser


def load_batches(args):
    """The batches as pairs of host arrays."""
    data = np.load(args.env / f"{args.model}.npz")
    starts = range(0, len(data["y"]), BATCH_SIZE)
    x, y = data["x"], data["y"]
    return [(x[start : start + BATCH_SIZE], y[start : start + BATCH_SIZE]) for start in starts]


def report(name, args, step):
    """Times `step`, a function from a batch to its loss as a number, and prints the result."""
    batches = load_batches(args)
    warmup = max(5, args.steps // 10)
    losses, times_ms = [], []
    for index in range(warmup + args.steps):
        x, y = batches[index % len(batches)]
        start = time.perf_counter()
        losses.append(step(x, y))
        if index >= warmup:
            times_ms.append((time.perf_counter() - start) * 1e3)
    result = {
        "name": name,
        "median_ms": statistics.median(times_ms),
        "min_ms": min(times_ms),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }
    print(json.dumps(result))
