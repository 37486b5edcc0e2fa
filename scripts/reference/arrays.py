#!/usr/bin/env python3
"""Writes tests/data/stored.npz and tests/data/deflated.npz, by which the readers are held to what NumPy really writes.

Needs NumPy. Every array has three examples; the values are what the test `files_that_numpy_wrote_...` expects.
"""

import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data"

ARRAYS = {
    "f32": np.arange(6, dtype=np.float32).reshape(3, 2) / 4,
    "f64": np.arange(6, dtype=np.float64).reshape(3, 2) / 4,
    "i32": np.array([-1, 0, 1], dtype=np.int32),
    "i64": np.array([-1, 0, 1], dtype=np.int64),
    "u8": np.array([0, 128, 255], dtype=np.uint8),
    "bool": np.array([True, False, True]),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(3, 2)),
    "big_endian": np.array([1, 2, 3], dtype=">f4"),
    "half": np.array([1, 2, 3], dtype=np.float16),
    "text": np.array(["a", "b", "c"]),
    "structured": np.array([(1, 2.0)] * 3, dtype=[("a", "<i4"), ("b", "<f4")]),
}


def main():
    np.savez(FOLDER / "stored.npz", **ARRAYS)
    np.savez_compressed(FOLDER / "deflated.npz", **ARRAYS)
    for path in sorted(FOLDER.glob("*ed.npz")):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
