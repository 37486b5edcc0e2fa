"""Runs `trainer`, and reads what it stored: docs/formats.md draws journal and checkpoints."""

import json
import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

SEGMENT_HEADER_BYTES = 64
FRAME_HEADER_BYTES = 32
STEP_DONE_KINDS = (4, 18)


def run(program, folder, work_dir, settings=()):
    """Runs to the end in a fresh work directory; gives its peak memory in MB and what it said."""
    shutil.rmtree(work_dir, ignore_errors=True)
    command = [program, "run", "--work-dir", work_dir, "--config", folder / "run.toml"]
    for setting in settings:
        command += ["--set", setting]
    peak_mb, said = measured(command, folder / "trainer.log")
    return peak_mb, said


def measured(command, log, folder=None):
    """Runs a command, in `folder`; gives its peak memory in MB and its output. Its errors go to `log`."""
    # A child begins with the peak of its parent, which therefore has to stay small: this module needs no NumPy.
    environment = dict(os.environ, ORT_DISABLE_TELEMETRY="1")
    with open(log, "w") as errors:
        child = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=folder
        )
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        lines = [line for line in Path(log).read_text().splitlines() if "rror" in line] or ["no message"]
        raise RuntimeError(f"{command[1]} ended with {child.returncode}, see {log}: {lines[-1][:300]}")
    return usage.ru_maxrss / 1024, said


def step_losses(work_dir):
    """The loss of each step, from the journal."""
    losses = {}
    for segment in sorted((work_dir / "journal").glob("*.wal")):
        data = segment.read_bytes()
        at = SEGMENT_HEADER_BYTES
        while at + FRAME_HEADER_BYTES <= len(data):
            length, kind = struct.unpack_from("<IH", data, at)
            if kind == 0:
                break
            if kind in STEP_DONE_KINDS:
                step, _epoch, _batch, loss = struct.unpack_from("<QQQf", data, at + FRAME_HEADER_BYTES)
                losses[step] = loss
            at += FRAME_HEADER_BYTES + length
    return [losses[step] for step in sorted(losses)]


def epoch_seconds(work_dir):
    """Seconds of each epoch, from the history."""
    lines = (work_dir / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["seconds"] for line in lines]


def checkpoint_tensors(path):
    """Shape and bytes of each f32 tensor of a checkpoint, by name; a safetensors file."""
    with open(path, "rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    (length,) = struct.unpack_from("<Q", data)
    start = 8 + length
    tensors = {}
    for name, about in json.loads(bytes(data[8:start])).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            first, end = about["data_offsets"]
            tensors[name] = (about["shape"], data[start + first : start + end])
    return tensors
