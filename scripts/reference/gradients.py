"""PyTorch's own gradients of single operators where they have no derivative, or where conventions differ.

    python scripts/reference/gradients.py tests/data/gradients.json

Each entry is an ONNX node with its operands and the gradients that PyTorch gives for them when the output's gradient is
1 everywhere, 2 everywhere for every second element: see `seed_of`. Operands are float32 unless they are integers.
"""

import json
import sys

import torch
import torch.nn.functional as F

entries = []


def seed_of(y):
    """The gradient of the output: 1, 2, 1, 2, ... in the order of its elements."""
    return (1.0 + torch.arange(y.numel()) % 2).reshape(y.shape).to(y.dtype)


def add(op, about, function, *operands, opset=23, **attributes):
    """`operands` are lists of numbers that are varied, or ("fixed", tensor) for constants."""
    inputs, varied, values = [], [], []
    for operand in operands:
        is_fixed = isinstance(operand, tuple)
        tensor = operand[1] if is_fixed else torch.tensor(operand, dtype=torch.float32)
        kind = "fixed" if is_fixed else "varied"
        if tensor.dtype in (torch.int64, torch.bool):
            kind = {torch.int64: "ints", torch.bool: "bools"}[tensor.dtype]
        if kind == "varied":
            tensor.requires_grad_()
            varied.append(tensor)
        values.append(tensor)
        numbers = [float(x) for x in tensor.detach().flatten().tolist()]
        inputs.append({"kind": kind, "dims": list(tensor.shape), "values": numbers})
    y = function(*values)
    y.backward(seed_of(y))
    gradients = [(x.grad if x.grad is not None else torch.zeros_like(x)).flatten().tolist() for x in varied]
    entries.append(
        {"op": op, "about": about, "opset": opset, "attributes": attributes, "inputs": inputs, "gradients": gradients}
    )


def fixed(values):
    return ("fixed", torch.tensor(values))


BENDS = [-3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0]
WIDE = [-1e30, -88.0, -1e-30, 1e-30, 88.0, 1e30]


def activations():
    for values, about in [(BENDS, "at its bends"), (WIDE, "small and large values")]:
        add("Relu", about, F.relu, values)
        add("LeakyRelu", about, lambda x: F.leaky_relu(x, 0.25), values, alpha=0.25)
        add("Elu", about, lambda x: F.elu(x, 0.5), values, alpha=0.5)
        add("Selu", about, F.selu, values)
        add("Celu", about, lambda x: F.celu(x, 0.5), values, alpha=0.5)
        add("PRelu", about, lambda x, w: F.prelu(x, w), values, [0.25])
        add("HardSigmoid", about, F.hardsigmoid, values, alpha=1 / 6, beta=0.5)
        add("HardSwish", about, F.hardswish, values)
        add("ThresholdedRelu", about, lambda x: F.threshold(x, 0.5, 0.0), values, alpha=0.5)
        add("Shrink", about, lambda x: F.softshrink(x, 0.5), values, lambd=0.5, bias=0.5)
        add("Shrink", about + ", hard", lambda x: F.hardshrink(x, 1.0), values, lambd=1.0)
        add("Sigmoid", about, torch.sigmoid, values)
        add("Tanh", about, torch.tanh, values)
        add("Softplus", about, F.softplus, values)
        add("Softsign", about, F.softsign, values)
        add("Mish", about, F.mish, values)
        add("Gelu", about, F.gelu, values)
        add("Abs", about, torch.abs, values)
        add("Sign", about, torch.sign, values)


def elementwise():
    add("Clip", "at its edges", lambda x, a, b: x.clamp(-1.0, 1.0), BENDS, fixed(-1.0), fixed(1.0))
    add("Clip", "as relu6", lambda x, *_: F.relu6(x), [-1.0, 0.0, 3.0, 6.0, 7.0], fixed(0.0), fixed(6.0))
    add("Clip", "a lower edge", lambda x, a: x.clamp(min=0.0), BENDS, fixed(0.0))
    for op, function in [("Max", torch.maximum), ("Min", torch.minimum)]:
        add(op, "equal operands", function, [1.0, 2.0, -0.0, 5.0], [1.0, 3.0, 0.0, 4.0])
        add(op, "equal operands, broadcast", function, [[1.0, 2.0], [3.0, 1.0]], [1.0, 2.0])
    add("Sqrt", "towards 0", torch.sqrt, [1e-30, 1.0, 1e30])
    add("Reciprocal", "small and large values", torch.reciprocal, [1e-15, -1.0, 1e15])
    add("Pow", "a base of 0", torch.pow, [0.0, 0.0, 0.0, 2.0], [0.0, 1.0, 2.0, 0.0])
    add("Pow", "an exponent of 2", lambda x, e: x.pow(2.0), [-2.0, 0.0, 1e-20, 3.0], fixed(2.0))
    add("Pow", "an exponent of 0", lambda x, e: x.pow(0.0), [0.0, -1.0], fixed(0.0))
    add("Mod", "of floats", torch.fmod, [5.5, -5.5, 4.0, -7.25], [2.0, 2.0, 2.0, -1.5], fmod=1)
    add("Div", "large values", torch.div, [1e20, 1.0, -3.0], [1e15, 1e-15, 2.0])
    add("Where", "broadcast", lambda c, a, b: torch.where(c != 0, a, b), ("fixed", torch.tensor([1, 0, 1]) != 0),
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [7.0, 8.0, 9.0])
    for op, function in [("Floor", torch.floor), ("Ceil", torch.ceil), ("Round", torch.round)]:
        add(op, "flat everywhere", function, BENDS)
    for op, function in [("Asin", torch.asin), ("Acos", torch.acos), ("Atan", torch.atan), ("Tan", torch.tan)]:
        add(op, "within its range", function, [-0.999, -0.5, 0.0, 0.5, 0.999])
    add("Erf", "small and large values", torch.erf, [-10.0, -1e-20, 0.0, 1e-20, 10.0])
    add("Softmax", "masked", lambda x: F.softmax(x, -1), [[1.0, -1e30, 2.0], [500.0, 0.0, -500.0]])
    add("LogSoftmax", "far apart", lambda x: F.log_softmax(x, -1), [[1.0, -1e10, 2.0], [500.0, 0.0, -500.0]])


def reductions():
    ties = [[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]]
    add("ReduceMax", "equal elements", lambda x, *_: x.amax(1, keepdim=True), ties, ("fixed", torch.tensor([1])))
    add("ReduceMin", "equal elements", lambda x, *_: x.amin(1, keepdim=True), ties, ("fixed", torch.tensor([1])))
    zeros = [[0.0, 0.0], [3.0, -4.0]]
    add("ReduceL2", "a norm of 0", lambda x, *_: x.norm(dim=1, keepdim=True), zeros, ("fixed", torch.tensor([1])))
    add("ReduceL1", "elements of 0", lambda x, *_: x.abs().sum(1, keepdim=True), zeros, ("fixed", torch.tensor([1])))
    add("ReduceProd", "factors of 0", lambda x, *_: x.prod(1, keepdim=True),
        [[0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [1.0, 2.0, 3.0]], ("fixed", torch.tensor([1])))
    add("ReduceLogSumExp", "far apart", lambda x, *_: x.logsumexp(1, keepdim=True),
        [[1e4, -1e4, 1e4], [-1e30, 0.0, 0.0]], ("fixed", torch.tensor([1])))
    add("CumSum", "backwards", lambda x, a: x.flip(0).cumsum(0).flip(0), [1.0, 2.0, 3.0], ("fixed", torch.tensor(0)),
        reverse=1)


def windows():
    ties = [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0], [0.0, 3.0, 3.0, 0.0]]]]
    add("MaxPool", "equal elements", lambda x: F.max_pool2d(x, 2), ties, kernel_shape=[2, 2], strides=[2, 2])
    add("MaxPool", "equal elements, overlapping", lambda x: F.max_pool2d(x, 3, 1, 1), ties, kernel_shape=[3, 3],
        pads=[1, 1, 1, 1])
    add("GlobalMaxPool", "equal elements", lambda x: F.adaptive_max_pool2d(x, 1), ties)
    wide = [[[[float((7 * i + 3 * j) % 5) for j in range(5)] for i in range(5)]]]
    for counted in (0, 1):
        add("AveragePool", "rounded up, padded", lambda x: F.avg_pool2d(x, 3, 2, 1, True, bool(counted)), wide,
            kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=counted)
    add("LpPool", "overlapping", lambda x: F.lp_pool2d(x, 2, 2, 1), wide, kernel_shape=[2, 2], p=2)
    add("Pad", "reflected", lambda x, p: F.pad(x, (2, 1), mode="reflect"), [[[1.0, 2.0, 3.0]]],
        ("fixed", torch.tensor([0, 0, 2, 0, 0, 1])), mode="reflect")
    add("Pad", "the edge repeated", lambda x, p: F.pad(x, (2, 1), mode="replicate"), [[[1.0, 2.0, 3.0]]],
        ("fixed", torch.tensor([0, 0, 2, 0, 0, 1])), mode="edge")
    add("Pad", "from the other end", lambda x, p: F.pad(x, (2, 1), mode="circular"), [[[1.0, 2.0, 3.0]]],
        ("fixed", torch.tensor([0, 0, 2, 0, 0, 1])), mode="wrap")


def positions():
    table = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    ids = torch.tensor([[0, 2], [2, 2]])
    add("Gather", "rows, some often", lambda w, i: F.embedding(i, w), table, ("fixed", ids))
    add("GatherElements", "some often", lambda x, i: x.gather(0, i), table, ("fixed", torch.tensor([[0, 1], [0, 0]])))
    index = torch.tensor([[0, 1, 1], [2, 0, 0]])
    for name, reduction in [("amax", "max"), ("amin", "min"), ("prod", "mul"), ("sum", "add")]:
        add("ScatterElements", f"{name}, with equal elements",
            lambda x, i, u: x.scatter_reduce(1, i, u, name, include_self=True),
            [[3.0, 1.0, 0.0], [0.0, 2.0, 5.0]], ("fixed", index), [[3.0, 1.0, 2.0], [5.0, 0.0, 0.0]], axis=1,
            reduction=reduction)
    add("Trilu", "lower", lambda x: x.tril(), table, upper=0)


activations()
elementwise()
reductions()
windows()
positions()
with open(sys.argv[1], "w", encoding="ascii") as out:
    out.write("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")
print(f"{len(entries)} gradients")
