"""Writes losses and their gradients as PyTorch computes them, in f64, to the JSON file named.

    cases   name, kind and settings; `output`, `other`, `target`, `sample_weights`, `mask` as dims and values; the loss and
            its gradients with respect to `output` and `other`

Weights of examples and masks are applied as one does in PyTorch: the losses with `reduction="none"`, times the weights,
summed, over the sum of the weights.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F

LABELS = ("cross_entropy", "nll")


def numbers(*dims, seed, low=None):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(dims, generator=generator, dtype=torch.float64)
    return drawn if low is None else low + (1 - 2 * low) * torch.sigmoid(2 * drawn)


def labels(*dims, classes, seed):
    return torch.randint(0, classes, dims, generator=torch.Generator().manual_seed(seed))


def log_softmax(*dims, seed):
    return torch.log_softmax(numbers(*dims, seed=seed), 1)


WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 0.25], dtype=torch.float64)
SAMPLE = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
MASK = torch.tensor([[1.0, 1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0], [1.0] * 5], dtype=torch.float64)


def loss_of(case):
    """The loss with one value per element or position, and the weight of each."""
    kind, output, target = case["kind"], case["output"], case.get("target")
    get = case.get
    if kind in LABELS:
        target = target.clone()
        weight = torch.tensor(get("class_weights", [1.0] * output.size(1)), dtype=torch.float64)
        arguments = {"weight": weight, "reduction": "none"}
        counts = torch.ones_like(output.select(1, 0))
        if not target.is_floating_point():
            arguments["ignore_index"] = get("ignore_index", -100)
            counted = target != arguments["ignore_index"]
            counts = weight[target.where(counted, 0)] * counted
        if kind == "nll":
            return F.nll_loss(output, target, **arguments), counts
        return F.cross_entropy(output, target, label_smoothing=get("label_smoothing", 0.0), **arguments), counts
    if kind == "cosine":
        other = case["other"] if "other" in case else target
        alike = target if "other" in case and target is not None else torch.ones(output.size(0))
        return F.cosine_embedding_loss(output, other, alike, margin=get("margin", 0.0), reduction="none"), None
    if kind == "contrastive":
        logits = F.normalize(output, dim=1) @ F.normalize(case["other"], dim=1).T / case["temperature"]
        own = torch.arange(output.size(0))
        one = F.cross_entropy(logits, own, reduction="none")
        if get("symmetric"):
            one = (one + F.cross_entropy(logits.T, own, reduction="none")) / 2
        return one, None
    if kind == "bce_with_logits" and "pos_weight" in case:
        pos_weight = torch.tensor(case["pos_weight"], dtype=torch.float64)
        return F.binary_cross_entropy_with_logits(output, target, pos_weight=pos_weight, reduction="none"), None
    functions = {
        "mse": F.mse_loss,
        "l1": F.l1_loss,
        "huber": lambda o, t, reduction: F.huber_loss(o, t, delta=get("delta"), reduction=reduction),
        "smooth_l1": lambda o, t, reduction: F.smooth_l1_loss(o, t, beta=get("beta"), reduction=reduction),
        "bce": F.binary_cross_entropy,
        "bce_with_logits": F.binary_cross_entropy_with_logits,
        "kl_div": lambda o, t, reduction: F.kl_div(o, t, log_target=get("log_target", False), reduction=reduction),
    }
    return functions[kind](output, target, reduction="none"), None


def reduced(case):
    values, counts = loss_of(case)
    counts = torch.ones_like(values) if counts is None else counts
    for name in ("sample_weights", "mask"):
        if name in case:
            factor = case[name].reshape(case[name].shape + (1,) * (values.dim() - case[name].dim()))
            values, counts = values * factor, counts * factor
    if case.get("reduction") == "sum":
        return values.sum()
    if case.get("reduction") == "batchmean":
        return values.sum() / case["output"].size(0)
    return values.sum() / counts.sum()


def cases():
    logits, planes = numbers(3, 4, seed=1), numbers(3, 4, 5, seed=2)
    one, five = labels(3, classes=4, seed=3), labels(3, 5, classes=4, seed=4)
    ignored = five.clone()
    ignored[0, 1] = ignored[2, 4] = -100
    probabilities = torch.softmax(numbers(3, 4, seed=5), 1)
    yield {"kind": "cross_entropy", "output": logits, "target": one, "sample_weights": SAMPLE}
    yield {"kind": "cross_entropy", "output": planes, "target": ignored, "class_weights": WEIGHTS.tolist(),
           "label_smoothing": 0.1, "mask": MASK, "sample_weights": SAMPLE}
    yield {"kind": "cross_entropy", "output": planes, "target": five, "mask": MASK, "reduction": "sum"}
    yield {"kind": "cross_entropy", "output": logits, "target": probabilities, "sample_weights": SAMPLE,
           "class_weights": WEIGHTS.tolist(), "label_smoothing": 0.2}
    yield {"kind": "nll", "output": log_softmax(3, 4, seed=6), "target": one}
    yield {"kind": "nll", "output": log_softmax(3, 4, 5, seed=7), "target": ignored, "class_weights": WEIGHTS.tolist()}
    target = numbers(3, 4, seed=8)
    for kind, more in [("mse", {}), ("l1", {}), ("huber", {"delta": 0.7}), ("smooth_l1", {"beta": 0.4})]:
        yield {"kind": kind, "output": logits, "target": target, **more}
        yield {"kind": kind, "output": logits, "target": target, "sample_weights": SAMPLE, **more}
    yield {"kind": "mse", "output": logits, "target": target, "reduction": "sum"}
    wide = numbers(3, 5, 2, seed=9)
    yield {"kind": "mse", "output": wide, "target": numbers(3, 5, 2, seed=10), "mask": MASK, "sample_weights": SAMPLE}
    truth = numbers(3, 4, seed=11, low=0.0)
    yield {"kind": "bce", "output": numbers(3, 4, seed=12, low=0.01), "target": truth}
    yield {"kind": "bce", "output": numbers(3, 4, seed=12, low=0.01), "target": truth.round(), "sample_weights": SAMPLE}
    yield {"kind": "bce_with_logits", "output": logits, "target": truth}
    yield {"kind": "bce_with_logits", "output": logits, "target": truth, "pos_weight": [0.5, 1.0, 2.0, 3.0]}
    yield {"kind": "bce_with_logits", "output": logits, "target": truth, "pos_weight": [4.0], "sample_weights": SAMPLE}
    peaked = probabilities.clone()
    peaked[1] = torch.tensor([0.0, 0.0, 1.0, 0.0])
    for reduction in ("mean", "batchmean", "sum"):
        yield {"kind": "kl_div", "output": log_softmax(3, 4, seed=13), "target": peaked, "reduction": reduction}
    yield {"kind": "kl_div", "output": log_softmax(3, 4, seed=13), "target": probabilities.log(), "log_target": True}
    yield {"kind": "cosine", "output": logits, "target": target}
    alike = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    yield {"kind": "cosine", "output": logits, "other": target, "target": alike, "margin": -0.5}
    yield {"kind": "cosine", "output": logits, "other": target, "sample_weights": SAMPLE}
    yield {"kind": "contrastive", "output": logits, "other": target, "temperature": 0.2}
    yield {"kind": "contrastive", "output": logits, "other": target, "temperature": 0.5, "symmetric": True}


def array(tensor):
    return {"dims": list(tensor.shape), "values": tensor.detach().flatten().tolist(),
            "integers": not tensor.is_floating_point()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    torch.set_num_threads(1)
    written = []
    for case in cases():
        leaves = [name for name in ("output", "other") if name in case]
        for name in leaves:
            case[name] = case[name].clone().requires_grad_()
        loss = reduced(case)
        loss.backward()
        shown = {key: array(value) if torch.is_tensor(value) else value for key, value in case.items()}
        gradients = {f"{name}_gradient": case[name].grad.flatten().tolist() for name in leaves}
        written.append({**shown, "loss": loss.item(), **gradients})
    content = {"torch": torch.__version__.split("+")[0], "cases": written}
    file.write_text(json.dumps(content).replace("}, {", "},\n{") + "\n")


if __name__ == "__main__":
    main()
