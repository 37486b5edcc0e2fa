#!/usr/bin/env python3
"""How fast may memory leak for the state to be saved before the kernel kills the process?

Runs runtime/examples/leak.rs in a control group with a memory limit, at several rates, several times each, and says how
often the emergency checkpoint was durable and what was told. Needs the right to make control groups (root).

    cargo build --release -p trainer-runtime --example leak
    scripts/memory/leak.py --limit-mb 2000 --state-mb 100 --rates 10 100 1000 --repeat 5
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

LEAK = pathlib.Path(__file__).resolve().parents[2] / "target/release/examples/leak"
HIERARCHIES = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]


def make_group(limit_bytes):
    for folder, limit_file in HIERARCHIES:
        group = pathlib.Path(folder) / f"trainer-leak-{os.getpid()}-{time.monotonic_ns()}"
        try:
            group.mkdir()
            (group / limit_file).write_text(str(limit_bytes))
            return group
        except OSError:
            if group.exists():
                group.rmdir()
    sys.exit("no control group with a memory limit can be made here: root is needed")


def run(rate, args):
    group = make_group(args.limit_mb * 1_000_000)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        command = [str(LEAK), folder, str(args.state_mb), str(rate)]
        enter = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
        process = subprocess.Popen(enter + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = process.communicate()
        durable = (pathlib.Path(folder) / "emergency-oom-step-00000002.safetensors").exists()
    for _ in range(100):
        try:
            group.rmdir()
            break
        except OSError:
            time.sleep(0.05)
    return durable, process.returncode, (out + err).strip().splitlines()[-1:] or [""]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit-mb", type=int, default=2000)
    parser.add_argument("--state-mb", type=int, default=100)
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", default=None, help="where checkpoints go; the system's folder for temporary files")
    args = parser.parse_args()
    missed = 0
    for rate in args.rates:
        for attempt in range(args.repeat):
            durable, code, said = run(rate, args)
            missed += not durable
            print(f"{rate:6.0f} MB/s  {'saved ' if durable else 'MISSED'}  exit {code}  {said[0]}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
