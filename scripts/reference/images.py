#!/usr/bin/env python3
"""Writes tests/data/images/: a picture as PNG and JPEG in several forms, and what PIL makes of them.

Needs NumPy and Pillow. `expected.npz` holds, as unsigned bytes `[channels, height, width]`, per file the pixels that PIL
decodes (`NAME/rgb`, `NAME/grey`), and of the colour PNG what torchvision's transforms on PIL images give: the shorter side
resized with antialiased bilinear and the middle taken (`center_HxW_RESIZE`), or resized as a whole (`stretch_HxW`).
"""

import pathlib

import numpy as np
from PIL import Image

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data" / "images"
WIDTH, HEIGHT = 37, 23


def picture():
    """Smooth waves in three colours, so that a JPEG keeps them, with a few sharp edges."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    planes = [128 + 100 * np.sin(x / 6 + phase) * np.cos(y / 5 - phase) for phase in (0.0, 1.0, 2.5)]
    colours = np.stack(planes, -1).clip(0, 255).astype(np.uint8)
    colours[5:9, 10:20] = [250, 10, 30]
    return Image.fromarray(colours, "RGB")


def planes(image):
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def center(image, height, width, resize):
    """`Resize(resize)` and `CenterCrop((height, width))` of torchvision."""
    short = min(image.width, image.height)
    wide, tall = int(resize * image.width / short), int(resize * image.height / short)
    scaled = image.resize((wide, tall), Image.Resampling.BILINEAR)
    top, left = round((tall - height) / 2.0), round((wide - width) / 2.0)
    return scaled.crop((left, top, left + width, top + height))


def main():
    FOLDER.mkdir(exist_ok=True)
    colour = picture()
    transparent = colour.copy()
    transparent.putalpha(Image.linear_gradient("L").resize(colour.size))
    files = {
        "colour.png": colour,
        "grey.png": colour.convert("L"),
        "palette.png": colour.quantize(32),
        "transparent.png": transparent,
        "bits.png": colour.convert("1"),
        "colour.jpg": colour,
        "grey.jpeg": colour.convert("L"),
        "progressive.jpg": colour,
    }
    expected = {}
    for name, image in files.items():
        options = {"quality": 90} if "jp" in name else {}
        image.save(FOLDER / name, **options, **({"progressive": True} if "progressive" in name else {}))
        read = Image.open(FOLDER / name)
        expected[f"{name}/rgb"] = planes(read.convert("RGB"))
        expected[f"{name}/grey"] = planes(read.convert("L"))
    for height, width, resize in [(8, 8, 10), (16, 20, 23), (30, 40, 46), (9, 7, 9)]:
        expected[f"center_{height}x{width}_{resize}"] = planes(center(colour, height, width, resize))
    for height, width in [(10, 12), (23, 37), (46, 50)]:
        scaled = colour.resize((width, height), Image.Resampling.BILINEAR)
        expected[f"stretch_{height}x{width}"] = planes(scaled)
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
