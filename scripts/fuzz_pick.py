"""Picks the inputs of a fuzz target that are committed: few, small, and with most of the coverage of all.

    scripts/fuzz_pick.py CONTROL_FILE FOLDER

CONTROL_FILE is what libFuzzer's -merge_control_file leaves: the inputs, and the features that each covers. The chosen
ones are copied to FOLDER, which must be empty.
"""

import shutil
import sys
from pathlib import Path

MOST_INPUTS = 60
MOST_BYTES = 24_000
# What a file costs besides its bytes: larger inputs that cover much are worth more than many small ones.
FILE_BYTES = 600


def main() -> None:
    control, folder = Path(sys.argv[1]), Path(sys.argv[2])
    lines = control.read_text().splitlines()
    inputs = [Path(line) for line in lines[2 : 2 + int(lines[0])]]
    features = {}
    for line in lines[2 + len(inputs) :]:
        words = line.split()
        if words[0] == "FT":
            features[inputs[int(words[1])]] = set(words[2:])
    everything = set().union(*features.values())
    covered, size, count = set(), 0, 0
    while features and count < MOST_INPUTS and size < MOST_BYTES:
        best = max(features, key=lambda path: len(features[path] - covered) / (path.stat().st_size + FILE_BYTES))
        if features[best] <= covered:
            break
        covered |= features.pop(best)
        shutil.copyfile(best, folder / best.name)
        size, count = size + best.stat().st_size, count + 1
    print(f"{count} inputs, {size} bytes, {len(covered)} of {len(everything)} features")


if __name__ == "__main__":
    main()
