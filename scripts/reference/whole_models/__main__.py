"""Trains whole models with `trainer` and with PyTorch, and compares losses, gradients, step times and memory.

    python scripts/reference/whole_models --program target/release/trainer --folder /tmp/whole_models [NAME...]

For each model and each of PyTorch's exporters: the model is exported, 20 steps of SGD are trained from the same weights
on the same batches in the same order, then steps are timed in rounds that take both programs in turn. The result of a
model goes to FOLDER/results/NAME-EXPORTER.json; `table.py` makes docs/models.md of them. Ends with 1 if a model misses
its tolerance. This process imports no PyTorch, because a child's peak memory begins with its parent's.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

import program
from judge import judge

HERE = Path(__file__).resolve().parent
EXPORTERS = ("dynamo", "script")
GRADIENT_LR = 2**20
# The first epoch of a timed run warms up.
TIMED_EPOCHS = 3


def python(script, *arguments, log):
    """Runs a script of this folder; gives its peak memory in MB and what it printed, which is JSON or nothing."""
    peak_mb, said = program.measured([sys.executable, HERE / script, *arguments], log)
    return peak_mb, json.loads(said) if said.strip() else None


def compare(binary, name, exporter, folder):
    """How far both programs are apart for one export of one model."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "worker.log"
    _, about = python("worker.py", "prepare", name, exporter, folder, log=log)
    # One thread each: what is compared needs no speed, and equal work is then done whatever else the machine does.
    alone = ["threads=1", "spin=false"]
    program.run(binary, folder, folder / "steps", alone)
    one_step = [f"optimizer.lr={GRADIENT_LR}.0", "train.max_steps=1"]
    program.run(binary, folder, folder / "first", [*alone, *one_step])
    python("worker.py", "reference", name, folder, log=log)
    _, result = python("compare.py", folder, json.dumps(about), log=log)
    return {"name": name, "exporter": exporter, **about, **result}


def time_rounds(binary, name, folder, rounds, log):
    """Milliseconds per step and peak memory of both programs, a row per round."""
    found = []
    for _ in range(rounds):
        settings = [f"data.train={folder / 'timed.npz'}", f"train.epochs={TIMED_EPOCHS}"]
        peak_mb, _ = program.run(binary, folder, folder / "timed", settings)
        steps = len(program.step_losses(folder / "timed")) // TIMED_EPOCHS
        seconds = program.epoch_seconds(folder / "timed")
        torch_peak_mb, torch_seconds = python("worker.py", "time", name, folder, TIMED_EPOCHS, log=log)
        found.append(
            {
                "step_ms": 1000 * statistics.median(seconds[1:]) / steps,
                "pytorch_step_ms": 1000 * statistics.median(torch_seconds[1:]) / steps,
                "peak_mb": peak_mb,
                "pytorch_peak_mb": torch_peak_mb,
                "load": os.getloadavg()[0],
            }
        )
    return found


def names_of_families():
    """Names in their order, without importing PyTorch here."""
    _, said = program.measured(
        [sys.executable, "-c", "import families; print(*families.FAMILIES)"], os.devnull, HERE
    )
    return said.split()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; all without")
    parser.add_argument("--program", type=Path, default=Path("target/release/trainer"))
    parser.add_argument("--folder", type=Path, required=True, help="where models and results go")
    parser.add_argument("--exporters", nargs="+", choices=EXPORTERS, default=EXPORTERS)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of timing")
    parser.add_argument("--only-time", action="store_true", help="time what an earlier run exported and compared")
    options = parser.parse_args()
    results = options.folder.resolve() / "results"
    results.mkdir(parents=True, exist_ok=True)
    is_missed = False
    for name in options.names or names_of_families():
        for exporter in options.exporters:
            folder = options.folder.resolve() / f"{name}-{exporter}"
            try:
                binary = options.program.resolve()
                if options.only_time:
                    result = json.loads((results / f"{name}-{exporter}.json").read_text())
                else:
                    result = compare(binary, name, exporter, folder)
                result["timed"] = time_rounds(binary, name, folder, options.rounds, folder / "worker.log")
            except RuntimeError as error:
                print(f"{name} {exporter}: {error}", flush=True)
                is_missed = True
                continue
            result["misses"] = judge(result)
            is_missed |= bool(result["misses"])
            (results / f"{name}-{exporter}.json").write_text(json.dumps(result, indent=1) + "\n")
            print(summary(result), flush=True)
    sys.exit(1 if is_missed else 0)


def summary(result):
    """A line on one export of one model."""
    rows = [row for row in result["gradients"] if row["kind"] == "gradient"]
    worst = max(rows, key=lambda row: row["difference"])
    ratios = [row["step_ms"] / row["pytorch_step_ms"] for row in result["timed"]] or [float("nan")]
    return (
        f"{result['name']} {result['exporter']}: loss {result['losses'][0]:.4f} to {result['losses'][-1]:.4f}, "
        f"off by {result['loss_difference']:.1e} (PyTorch off f64 by {result['pytorch_loss_rounding']:.1e}); "
        f"gradients off by {worst['difference']:.1e} ({worst['name']}); step {statistics.median(ratios):.2f} of "
        f"PyTorch's; {'; '.join(result['misses']) or 'ok'}"
    )


if __name__ == "__main__":
    main()
