#!/usr/bin/env python3
"""The comparison behind gpu_check.sh; needs only the standard library."""

import csv
import itertools
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
TRAINER = ROOT / "target" / "release" / "trainer"
MODELS = ["mlp-dynamo", "mlp-script", "cnn-dynamo", "cnn-script"]
OPTIMIZERS = {"sgd": ("0.05", ["optimizer.momentum=0.9"]), "adam": ("1e-3", []), "adamw": ("1e-3", [])}
TOLERANCE = 1e-3
# Sums in another order round to other 16-bit numbers, and that adds up over 50 steps.
LOW_TOLERANCE = 5e-2


def command(folder, model, optimizer, device, extra=()):
    rate, settings = OPTIMIZERS[optimizer]
    data = ROOT / "tests" / "data" / "models"
    settings = settings + [
        f"model.onnx={data / model}.onnx",
        f"data.train={data / 'digits160.npz'}",
        "data.shuffle=false",
        'data.inputs.x={array="images"}',
        'data.targets.y={array="labels"}',
        f"optimizer.kind={optimizer}",
    ]
    line = [TRAINER, "-q", "run", "--work-dir", folder, "--device", device, "--lr", rate, "--batch-size", "16", "--epochs", "5"]
    return line + list(extra) + [part for setting in settings for part in ("--set", setting)]


def rows(folder):
    with open(pathlib.Path(folder) / "history.csv") as file:
        return list(csv.DictReader(file))


def train(model, optimizer, device, extra=(), kill_after_s=None):
    with tempfile.TemporaryDirectory() as folder:
        line = command(folder, model, optimizer, device, extra)
        if kill_after_s is not None:
            process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(kill_after_s)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{model} {optimizer} {device}: exit {done.returncode}\n{done.stderr}")
        table = rows(folder)
        losses = [float(row["train_loss"]) for row in table]
        # The first epoch warms up.
        step_ms = 1000 * min(float(row["seconds"]) for row in table[1:]) / 10
        return losses, step_ms


def main():
    device, failures = sys.argv[1], 0
    cases = [(model, optimizer, "f32") for model, optimizer in itertools.product(MODELS, OPTIMIZERS)]
    cases += [(model, "adamw", precision) for model, precision in itertools.product(MODELS, ["bf16", "f16"])]
    for model, optimizer, precision in cases:
        extra = ["--set", f"train.precision={precision}"]
        tolerance = TOLERANCE if precision == "f32" else LOW_TOLERANCE
        cpu, cpu_ms = train(model, optimizer, "cpu", extra)
        gpu, gpu_ms = train(model, optimizer, device, extra)
        again, _ = train(model, optimizer, device, extra)
        parts, _ = train(model, optimizer, device, extra + ["--micro-batch", "4"]) if "mlp" in model else (cpu, 0)
        killed, _ = train(model, optimizer, device, extra, kill_after_s=3)
        difference = max(abs(a / b - 1) for a, b in zip(gpu, cpu))
        in_parts = max(abs(a / b - 1) for a, b in zip(parts, cpu))
        checks = {
            "losses as on the CPU": difference < tolerance,
            "losses in micro-batches": in_parts < tolerance,
            "same bits again": again == gpu,
            "same bits after a kill": killed == gpu,
        }
        failures += sum(not passed for passed in checks.values())
        broken = ", ".join(name for name, passed in checks.items() if not passed) or "ok"
        print(f"{model:11} {optimizer:6} {precision:4} difference {difference:.1e}  step {cpu_ms:.2f} ms cpu, {gpu_ms:.2f} ms {device}: {broken}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
