"""Runs the contenders in interleaved rounds and prints a table of step times in Markdown."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "scripts" / "bench"
ENV = ROOT / "bench-env"
OURS = "trainer"

TORCH_PYTHON = os.environ.get("TORCH_PYTHON", ENV / "torch/bin/python")
ORTT_PYTHON = os.environ.get("ORTT_PYTHON", ENV / "ortt/bin/python")

CONTENDERS = {
    OURS: [ROOT / "target/release/examples/bench_step"],
    "trainer-no-spin": [ROOT / "target/release/examples/bench_step", "--no-spin"],
    "pytorch": [TORCH_PYTHON, BENCH / "bench_torch.py"],
    "pytorch-fused": [TORCH_PYTHON, BENCH / "bench_torch.py", "--fused"],
    "ort-training": [ORTT_PYTHON, BENCH / "bench_ortt.py"],
}

# Steps that take about a second or two on two cores.
DEFAULT_STEPS = {"mlp": 500, "cnn": 30}

# Losses agree at the start up to rounding. At the end optimizers whose formulas differ in the last bits, or in where
# eps is added, have drifted apart; what is caught is a contender that does not train, or trains something else.
FIRST_LOSS_TOLERANCE = 1e-3
LAST_LOSS_TOLERANCE = 2e-2


@dataclass
class Results:
    """What one contender reported, a value per round."""

    median_ms: list[float] = field(default_factory=list)
    min_ms: list[float] = field(default_factory=list)
    peak_rss_mb: list[float] = field(default_factory=list)
    first_loss: list[float] = field(default_factory=list)
    last_loss: list[float] = field(default_factory=list)

    def add(self, line):
        for name, values in vars(self).items():
            values.append(float(line[name]))


def run(name, model, steps, threads):
    command = [*CONTENDERS[name], model, "--steps", steps, "--threads", threads, "--env", ENV]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{name} failed with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(names, model, rounds, steps, threads):
    results = {name: Results() for name in names}
    for index in range(rounds):
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            line = run(name, model, steps, threads)
            results[name].add(line)
            print(f"{model}, round {index + 1} of {rounds}: {name} {line['median_ms']:.2f} ms", file=sys.stderr)
    return results


def check_losses(model, results):
    """Stops unless all contenders trained the same network on the same data."""
    (reference_name, reference), *others = results.items()
    first, last = reference.first_loss[0], reference.last_loss[0]
    for name, found in others:
        first_off = abs(found.first_loss[0] - first) / first
        last_off = abs(found.last_loss[0] - last) / first
        # A NaN must not pass.
        if not (first_off <= FIRST_LOSS_TOLERANCE and last_off <= LAST_LOSS_TOLERANCE):
            sys.exit(
                f"{model}: the losses of {name} go from {found.first_loss[0]:.6f} to {found.last_loss[0]:.6f}, those "
                f"of {reference_name} from {first:.6f} to {last:.6f}; they do not train the same, so their times "
                "can not be compared"
            )


def print_table(model, results, rounds, steps, threads):
    base_name = OURS if OURS in results else next(iter(results))
    base = statistics.median(results[base_name].median_ms)
    base_min = min(results[base_name].min_ms)
    print(f"\n### {model}: batch 64, AdamW, {threads} threads, {rounds} rounds of {steps} steps\n")
    columns = ["", "step, ms", "spread over rounds, ms", f"times {base_name}"]
    columns += ["fastest step, ms", f"times {base_name}", "peak memory, MB"]
    print("| " + " | ".join(columns) + " |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, found in results.items():
        median = statistics.median(found.median_ms)
        spread = f"{min(found.median_ms):.2f} to {max(found.median_ms):.2f}"
        peak = max(found.peak_rss_mb)
        fastest = min(found.min_ms)
        print(
            f"| {name} | {median:.2f} | {spread} | {median / base:.2f} "
            f"| {fastest:.2f} | {fastest / base_min:.2f} | {peak:.0f} |"
        )


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=list(DEFAULT_STEPS), default=list(DEFAULT_STEPS))
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("--steps", type=int, help="timed steps of a round; default: " + str(DEFAULT_STEPS))
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), metavar="NAME", default=list(CONTENDERS))
    args = parser.parse_args()
    if args.rounds < 1 or args.threads < 1 or (args.steps is not None and args.steps < 1):
        parser.error("--rounds, --steps and --threads are at least 1")
    for name in args.only:
        if not Path(CONTENDERS[name][0]).exists():
            sys.exit(f"{name} needs {CONTENDERS[name][0]}, which is missing; run scripts/bench/run.sh")

    print(f"{processor()}, {os.cpu_count()} cores; load before: {os.getloadavg()[0]:.2f}")
    for model in args.models:
        steps = args.steps or DEFAULT_STEPS[model]
        results = measure(args.only, model, args.rounds, steps, args.threads)
        check_losses(model, results)
        print_table(model, results, args.rounds, steps, args.threads)


if __name__ == "__main__":
    main()
