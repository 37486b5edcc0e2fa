"""What a checkpoint every 10 steps costs the loop: runs of the release binary with and without, in turn.

    scripts/bench/loop_cost.py [--rounds N] [--epochs N] [--model cnn|mlp] [--threads N]

Prints the median ratio of the pairs, of wall-clock time in the epochs (from history.csv) and of processor time of the
whole process, with the quartiles. Wall-clock time on a shared machine needs many rounds; processor time does not see
how well the writing hides beside the computing, and so is the larger of the two costs where cores are free.
"""

import argparse
import csv
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAVE_EVERY_STEPS = 10


def run(work_dir: Path, options: argparse.Namespace, every_steps: int | None) -> tuple[float, float, int]:
    """Seconds in the epochs, processor seconds, and checkpoints written."""
    settings = {
        "model.onnx": ROOT / f"bench-env/{options.model}.onnx",
        "data.train": ROOT / f"bench-env/{options.model}.npz",
        "data.inputs.x.array": "x",
        "data.targets.y.array": "y",
        "optimizer.kind": "adamw",
        "train.batch_size": 64,
        "train.epochs": options.epochs,
        "checkpoint.every_epochs": 1_000_000,
    }
    if every_steps is not None:
        settings["checkpoint.every_steps"] = every_steps
    command = [ROOT / "target/release/trainer", "run", "--work-dir", work_dir, "--threads", str(options.threads)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    with open(work_dir / "history.csv", newline="") as file:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
    cpu = (after.children_user - before.children_user) + (after.children_system - before.children_system)
    return seconds, cpu, len(list((work_dir / "checkpoints").glob("step-*")))


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.4f} ({low:.4f} to {high:.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--model", choices=["cnn", "mlp"], default="cnn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dir", type=Path, default=ROOT / "target", help="file system to write to")
    options = parser.parse_args()
    wall, cpu = [], []
    for number in range(options.rounds):
        pair = {}
        order = [None, SAVE_EVERY_STEPS] if number % 2 == 0 else [SAVE_EVERY_STEPS, None]
        for every_steps in order:
            with tempfile.TemporaryDirectory(dir=options.dir) as folder:
                pair[every_steps] = run(Path(folder) / "exp", options, every_steps)
        saving, plain = pair[SAVE_EVERY_STEPS], pair[None]
        wall.append(saving[0] / plain[0])
        cpu.append(saving[1] / plain[1])
        print(f"round {number + 1}: {plain[0]:.2f} s, {saving[0]:.2f} s with checkpoints; "
              f"processor {plain[1]:.2f} s, {saving[1]:.2f} s", flush=True)
    print(f"{options.model}, {options.rounds} rounds, a checkpoint every {SAVE_EVERY_STEPS} steps: "
          f"wall clock {quartiles(wall)}, processor {quartiles(cpu)}")


if __name__ == "__main__":
    main()
