#!/usr/bin/env python3
"""Writes the embedded digits: src/data/digits/images-idx3-ubyte.gz and labels-idx1-ubyte.gz.

Needs scikit-learn, whose package ships the test part of the UCI data set "Optical Recognition of Handwritten Digits"
(1,797 images of 8x8 pixels with values 0 to 16). The files are IDX, big-endian, in gzip; the same versions of Python
and zlib write the same bytes.

The source lists the digits writer by writer, so a split at one point would validate on unseen writers only. The
examples whose index in the source is 4 modulo 5 are the validation data (359), the others the training data (1,438);
both keep the order of the source. The training examples come first in the files.
"""

import gzip
import io
import pathlib
import struct

import numpy as np
from sklearn.datasets import load_digits

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "src" / "data" / "digits"
IDX_U8 = 0x08


def write_idx(path, array):
    assert array.dtype == np.uint8
    header = struct.pack(">BBBB", 0, 0, IDX_U8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as stream:
        stream.write(header + array.tobytes())
    path.write_bytes(packed.getvalue())
    print(f"{path.name}: {array.shape}, {len(packed.getvalue())} bytes")


def main():
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    assert images.shape == (1797, 8, 8) and (images == digits.images).all() and images.max() == 16
    is_validation = np.arange(len(labels)) % 5 == 4
    order = np.concatenate([np.flatnonzero(~is_validation), np.flatnonzero(is_validation)])
    write_idx(FOLDER / "images-idx3-ubyte.gz", images[order])
    write_idx(FOLDER / "labels-idx1-ubyte.gz", labels[order])


if __name__ == "__main__":
    main()
