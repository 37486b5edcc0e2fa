"""Exports a model by one of PyTorch's exporters, for training."""

import contextlib
import io
import logging
import warnings

import numpy as np
import onnx
import torch
from onnx import numpy_helper

EXPORTERS = ("dynamo", "script")
# Two examples, because the exporter takes an axis of one for a fixed one.
EXAMPLES = 2


def export(family, exporter, path, external_data=True):
    """Writes the family's model with its first weights and a free batch axis, its outputs under their names."""
    inputs = family.examples(EXAMPLES).inputs
    arguments = tuple(torch.from_numpy(array) for array in inputs.values())
    names = {"input_names": list(inputs), "output_names": list(family.outputs)}
    with quiet():
        if exporter == "dynamo":
            torch.onnx.export(
                family.model(),
                arguments,
                path,
                dynamo=True,
                optimize=False,
                external_data=external_data,
                dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in arguments),
                **names,
            )
        else:
            torch.onnx.export(
                family.model(),
                arguments,
                path,
                dynamo=False,
                opset_version=17,
                training=torch.onnx.TrainingMode.TRAINING,
                do_constant_folding=False,
                dynamic_axes={name: {0: "batch"} for name in (*inputs, *family.outputs)},
                **names,
            )


@contextlib.contextmanager
def quiet():
    """Exporters tell of each of their stages."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def exported_state(model, path):
    """The model's state as the file has it, by PyTorch's names, and the parameters that the file lacks.

    Parameters must be equal to the model's. Running statistics need not: the older exporter runs the model in training
    mode while it traces it.
    """
    proto = onnx.load(path)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    for name, value in state.items():
        if name in stored:
            found = numpy_helper.to_array(stored[name])
            if name in dict(model.named_parameters()) and not np.array_equal(found, value):
                raise SystemExit(f"{path}: {name} is not what the model has")
            state[name] = found.copy()
    missing = [name for names in aliases(model).values() if not (names & stored.keys()) for name in [min(names)]]
    return state, sorted(missing)


def aliases(model):
    """All names of each parameter: tied weights have several."""
    found = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), set()).add(name)
    return found
