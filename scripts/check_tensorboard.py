"""Reads an event file with TensorBoard's own reader and holds it against the journal, as `trainer history` prints it."""

import json
import subprocess
import sys

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def history(trainer, work_dir, *more):
    command = [trainer, "history", work_dir, "--json", *more]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [row for row in map(json.loads, lines) if "note" not in row]


def check(events, tag, expected):
    found = [(event.step, event.value) for event in events.Scalars(tag)]
    expected = [(step, float(numpy.float32(value))) for step, value in expected]
    assert found == expected, f"{tag}: {found} is not {expected}"
    print(f"{tag}: {len(found)} values, each step once, as in the journal")


def main(trainer, work_dir):
    # Without a size, TensorBoard keeps a sample of the values.
    events = EventAccumulator(f"{work_dir}/tensorboard", size_guidance={"scalars": 0})
    events.Reload()
    steps, epochs = history(trainer, work_dir, "--steps"), history(trainer, work_dir)
    for tag, field in [("train/loss", "loss"), ("lr", "lr"), ("gradient_norm", "gradient_norm")]:
        check(events, tag, [(row["step"], row[field]) for row in steps])
    for tag, field in [("train/epoch_loss", "train_loss"), ("val/loss", "val_loss"), ("val/accuracy", "val_accuracy")]:
        check(events, tag, [(row["step"], row[field]) for row in epochs])
    assert events.Scalars("train/examples_per_s"), "no rates"
    times = [event.wall_time for event in events.Scalars("train/loss")]
    assert times == sorted(times), "time goes backwards"


if __name__ == "__main__":
    main(*sys.argv[1:])
