"""Writes the small models that the tests train without Python, their data, and what PyTorch makes of them.

    python scripts/reference/whole_models/small.py tests/data/models/families

For each of `families.SMALL`:

    NAME-dynamo.onnx, NAME-script.onnx    the model by both exporters, with its weights
    NAME.npz, NAME.toml                   20 batches, and the settings of a run over them
    NAME.safetensors                      `losses` of 20 steps of SGD; `gradient/PARAMETER`, the first gradients, under
                                          all names of tied ones; `statistics/EXPORTER/BUFFER` after the last step. The
                                          metadata say how many `parameters` there are.

One thread, f32. The losses of a model that differ from those in f64 by more than 2e-5 are no reference at 1e-4.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import torch
from export import EXPORTERS, aliases, export, exported_state
from families import SMALL
from settings import write_settings
from worker import STEPS, reference, stored

sys.path.append(str(Path(__file__).resolve().parents[1]))
from source_notes import strip_source_notes  # noqa: E402


def save(path, arrays, metadata):
    """Writes a safetensors file."""
    kinds = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64"}
    header, parts, at = {"__metadata__": metadata}, [], 0
    # Wide elements first, so that each is aligned.
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        end = at + array.nbytes
        header[name] = {"dtype": kinds[array.dtype], "shape": list(array.shape), "data_offsets": [at, end]}
        parts.append(np.ascontiguousarray(array).tobytes())
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def write(name, family, folder):
    """Writes the files of one family."""
    data = family.examples(STEPS * family.batch)
    np.savez_compressed(folder / f"{name}.npz", **stored(data))
    settings = {"model": f"{name}-dynamo.onnx", "arrays": f"{name}.npz", "threads": 1}
    write_settings(family, data, folder / f"{name}.toml", **settings)
    model = family.model()
    arrays = {}
    for exporter in EXPORTERS:
        path = folder / f"{name}-{exporter}.onnx"
        export(family, exporter, path, external_data=False)
        strip_source_notes(path)
        initial, missing = exported_state(model, path)
        if missing:
            sys.exit(f"{path} lacks {', '.join(missing)}")
        found = reference(family, initial, STEPS, data)
        rounding = np.max(np.abs(found["f32/losses"] / found["f64/losses"] - 1))
        if rounding > 2e-5:
            sys.exit(f"{name} amplifies rounding to {rounding:.1e}, too much to serve as a reference at 1e-4")
        arrays["losses"] = found["f32/losses"]
        for names in aliases(model).values():
            gradient = next(found[key] for key in (f"f32/gradient/{alias}" for alias in names) if key in found)
            arrays |= {f"gradient/{alias}": gradient for alias in names}
        prefix = "f32/statistics/"
        statistics = {key[len(prefix) :]: array for key, array in found.items() if key.startswith(prefix)}
        arrays |= {f"statistics/{exporter}/{buffer}": array for buffer, array in statistics.items()}
    save(folder / f"{name}.safetensors", arrays, {"parameters": str(len(aliases(model)))})
    losses = arrays["losses"]
    print(f"{name}: loss {losses[0]:.4f} to {losses[-1]:.4f}, off f64 by {rounding:.1e}")


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in sys.argv[2:] or SMALL:
        write(name, SMALL[name], folder)


if __name__ == "__main__":
    main()
