"""Compares what `trainer` and PyTorch made of a model, in a process of its own; prints the result as JSON.

    compare.py FOLDER ABOUT

FOLDER holds `initial.npz`, `reference.npz` and the work directories `steps` (20 steps) and `first` (one step at
GRADIENT_LR, a power of two so large that the parameters afterwards are the first gradients, scaled without rounding).
"""

import json
import sys
from pathlib import Path

import numpy as np
from program import checkpoint_tensors, step_losses

GRADIENT_LR = 2.0**20

# A parameter has a first gradient of zero where f64 shows less than this part of the norm of all gradients together,
# such as the bias of a convolution before a batch normalisation. What f32 shows there is rounding.
ZERO_IN_F64 = 1e-9


def compare(folder, about):
    """Largest differences of losses, first gradients and running statistics."""
    reference = np.load(folder / "reference.npz")
    ours, theirs = np.array(step_losses(folder / "steps")), reference["f32/losses"]
    if len(ours) != len(theirs):
        raise SystemExit(f"{folder}: {len(ours)} steps are recorded, expected {len(theirs)}")
    exact = reference["f64/losses"]
    result = {
        "losses": ours.tolist(),
        "pytorch_losses": theirs.tolist(),
        "loss_difference": float(np.max(np.abs(ours / theirs - 1))),
        "pytorch_loss_rounding": float(np.max(np.abs(theirs / exact - 1))),
        "gradients": gradients(folder, about, reference),
        "statistics": statistics(folder, reference),
    }
    return result


def gradients(folder, about, reference):
    """A row per parameter: how far its first gradient is off, relative in norm."""
    norms = {key[len("f64/norm/") :]: float(reference[key]) for key in reference if key.startswith("f64/norm/")}
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    initial = np.load(folder / "initial.npz")
    after = checkpoint_tensors(folder / "first/checkpoints/final.safetensors")
    rows = []
    for names in about["aliases"]:
        name = next((name for name in names if name in after), None)
        reference_name = next((name for name in names if f"f32/gradient/{name}" in reference), None)
        if reference_name is None:
            rows.append({"name": names[0], "kind": "unused"})
            continue
        if name is None:
            rows.append({"name": names[0], "kind": "not trained"})
            continue
        shape, data = after[name]
        found = np.frombuffer(data, np.float32).astype(np.float64).reshape(shape)
        found = (initial[name].astype(np.float64) - found) / GRADIENT_LR
        expected = reference[f"f32/gradient/{reference_name}"].astype(np.float64)
        exact = reference[f"f64/gradient/{reference_name}"].astype(np.float64)
        if norms[reference_name] <= ZERO_IN_F64 * total:
            rows.append({"name": name, "kind": "zero", "difference": float(np.linalg.norm(found) / total)})
            continue
        rows.append(
            {
                "name": name,
                "kind": "gradient",
                "difference": float(np.linalg.norm(found - expected) / np.linalg.norm(expected)),
                "from_f64": float(np.linalg.norm(found - exact) / np.linalg.norm(exact)),
                "pytorch_from_f64": float(np.linalg.norm(expected - exact) / np.linalg.norm(exact)),
            }
        )
    return rows


def statistics(folder, reference):
    """How far the running statistics are off after the last step, relative in norm, by name.

    Means may all be next to 0; theirs is the norm of the standard deviations if that is larger.
    """
    prefix = "f32/statistics/"
    names = [key[len(prefix) :] for key in reference if key.startswith(prefix)]
    after = checkpoint_tensors(folder / "steps/checkpoints/final.safetensors")
    found = {}
    for name in names:
        shape, data = after[f"state/{name}"]
        ours = np.frombuffer(data, np.float32).astype(np.float64).reshape(shape)
        theirs = reference[prefix + name].astype(np.float64)
        variances = reference[prefix + name.removesuffix("running_mean") + "running_var"] if name.endswith("mean") else 0.0
        scale = max(np.linalg.norm(theirs), np.linalg.norm(np.sqrt(variances)))
        found[name] = float(np.linalg.norm(ours - theirs) / scale)
    return found


if __name__ == "__main__":
    print(json.dumps(compare(Path(sys.argv[1]), json.loads(sys.argv[2]))))
