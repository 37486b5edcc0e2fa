#!/usr/bin/env python3
"""Stop signals at random moments: exit code, message, and the same bytes in the end.

Runs are stopped again and again, each time at a random moment from the first instruction to the end, half of the times
followed by a second signal within 500 ms, and taken up again until they finish. Each finished run is compared with one
that nobody disturbed: tensors, the trainer's own state, and history. Every attempt has to end with 128 + the signal's
number and a sentence that says what is saved, or be complete, or be hit before the program's first instruction.

With `--modes`, an attempt may also go back to a checkpoint that it finds, or begin anew with `--fresh`; then no checkpoint
that was there may be gone, wherever the signal came.

    cargo build --release
    scripts/signals/campaign.py --count 500
    scripts/signals/campaign.py --count 200 --modes

Signals are sent from here and not from a shell, whose background jobs ignore SIGINT.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTINGS = [
    "model.builtin=mlp", "train.epochs=8", "train.eval_batch_size=8", "checkpoint.every_steps=40", "spin=false",
    "device=cpu", "threads=1",
]
STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def command(program, folder, more=()):
    sets = [argument for setting in SETTINGS for argument in ("--set", setting)]
    return [str(program), "run", "--work-dir", str(folder), *sets, *more]


def saved(folder):
    """The bytes of every checkpoint in the folder of a run, in those of its branches and in those that were moved aside."""
    return {path.read_bytes() for path in folder.glob("**/*.safetensors")} if folder.exists() else set()


def some_mode(folder, rng):
    """Arguments of an attempt that does more than go on: none for most."""
    kind = rng.random()
    there = sorted(folder.glob("checkpoints/*step-*.safetensors"))
    if kind < 0.4 and there:
        return ["--resume", str(rng.choice(there))]
    return ["--fresh"] if kind > 0.9 else []


def result(folder):
    """Tensors and history of a finished run; what depends on the clock and the run's identity is left out."""
    data = (folder / "checkpoints/final.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__")
    body = data[8 + length :]
    tensors = {name: (entry["shape"], body[slice(*entry["data_offsets"])]) for name, entry in header.items()}
    rows = [line.rsplit(",", 2)[0] for line in (folder / "history.csv").read_text().splitlines()]
    return tensors, rows


def undisturbed(program, folder):
    started = time.monotonic()
    subprocess.run(command(program, folder), check=True, capture_output=True)
    return result(folder), time.monotonic() - started


def phase_of(said, code):
    """Where the signal met the process, from what it said."""
    for words, phase in [
        ("leaving at once", "second signal"),
        ("grace of", "grace over"),
        ("while ", None),
        ("its model is being written", "exporting"),
        ("is saved already", "saved already"),
        ("saving step", "training, validating or saving"),
        ("no step is complete", "before the first step"),
    ]:
        if words in said:
            if phase is None:
                return said.split("received while ")[1].split(":")[0]
            return phase
    return "complete" if code == 0 else "said nothing"


def attempt(program, folder, more, number, is_double, longest_s, rng):
    process = subprocess.Popen(command(program, folder, more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(rng.random() * longest_s)
    process.send_signal(number)
    sent = time.monotonic()
    second = rng.choice(STOPS) if is_double else None
    if second is not None:
        time.sleep(rng.random() * 0.5)
        if process.poll() is None:
            process.send_signal(second)
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise SystemExit(f"a process did not end within 60 s of {number.name}: {process.communicate()}")
    return process.returncode, err, time.monotonic() - sent, second


def check(code, err, number, second):
    """Raises if the end is not one of those promised; gives the phase."""
    allowed = {0, 128 + number} | ({128 + second} if second else set())
    if code < 0:
        if -code in (number, second) and err == "":
            return "before the first instruction"
        raise SystemExit(f"killed by {-code} after {number.name}:\n{err}")
    if code not in allowed:
        raise SystemExit(f"exit code {code} after {number.name}:\n{err}")
    phase = phase_of(err, code)
    says = ["Saved step", "leaving at once", "nothing new to save", "is saved", "no step is saved yet", "nothing to do"]
    if code != 0 and not any(words in err for words in says):
        raise SystemExit(f"nothing was said after {number.name}:\n{err}")
    return phase


def raw_write_s(folder, size_bytes):
    """Writing and syncing the same bytes, without anything around it."""
    times = []
    for _ in range(20):
        path = folder / "raw"
        started = time.monotonic()
        with open(path, "wb") as file:
            file.write(b"x" * size_bytes)
            file.flush()
            os.fsync(file.fileno())
        times.append(time.monotonic() - started)
        path.unlink()
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/trainer")
    parser.add_argument("--count", type=int, default=500, help="signals of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--modes", action="store_true", help="also go back to checkpoints, and begin anew")
    args = parser.parse_args()
    if args.modes:
        SETTINGS.append("checkpoint.keep_last=99")
    rng = random.Random(args.seed)
    base = pathlib.Path(tempfile.mkdtemp(prefix="signals-"))
    expected, whole_s = undisturbed(args.program, base / "undisturbed")
    print(f"an undisturbed run takes {whole_s:.2f} s", flush=True)
    size_bytes = (base / "undisturbed/checkpoints/final.safetensors").stat().st_size
    phases, modes, times, finished = collections.Counter(), collections.Counter(), [], 0
    folder = base / "exp"
    todo = [(number, index % 2 == 1) for number in STOPS for index in range(args.count)]
    rng.shuffle(todo)
    for number, is_double in todo:
        more = some_mode(folder, rng) if args.modes else []
        before = saved(folder) if args.modes else set()
        # What comes before training is hit rarely where the moment is any of the whole run.
        longest_s = whole_s * (0.3 if more else 1.1)
        code, err, took_s, second = attempt(args.program, folder, more, number, is_double, longest_s, rng)
        modes[more[0] if more else "go on"] += 1
        if not before <= saved(folder):
            raise SystemExit(f"a checkpoint is gone after {number.name} and {more}: {folder}")
        phases[check(code, err, number, second)] += 1
        if "Saved step" in err and not is_double:
            times.append(took_s)
        if code == 0 and (folder / "checkpoints/final.safetensors").exists():
            if result(folder) != expected:
                raise SystemExit(f"a disturbed run ended with other bytes: {folder}")
            finished += 1
            shutil.rmtree(folder)
    if folder.exists():
        subprocess.run(command(args.program, folder), check=True, capture_output=True)
        if result(folder) != expected:
            raise SystemExit(f"a disturbed run ended with other bytes: {folder}")
        finished += 1
    print(f"{len(todo)} signals; {finished} disturbed runs ended with the bytes of the undisturbed one")
    for phase, count in phases.most_common():
        print(f"  {count:5} {phase}")
    if args.modes:
        print("attempts: " + ", ".join(f"{count} {mode}" for mode, count in modes.most_common()))
    times.sort()
    if times:
        p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
        print(f"from signal to the end of the process, saved: median {statistics.median(times) * 1e3:.0f} ms, "
              f"p99 {p99 * 1e3:.0f} ms, most {times[-1] * 1e3:.0f} ms ({len(times)} times)")
    print(f"raw write and sync of the same {size_bytes} bytes: median {raw_write_s(base, size_bytes) * 1e3:.1f} ms")
    shutil.rmtree(base)


if __name__ == "__main__":
    sys.exit(main())
