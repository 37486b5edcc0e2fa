"""The settings of a run, as a user writes them."""

import json


def value(item):
    """A value in TOML."""
    if isinstance(item, bool):
        return str(item).lower()
    return f'"{item}"' if isinstance(item, str) else repr(item)


def loss_table(term, heading):
    """One table of the loss."""
    lines = [f"[{heading}]", f'kind = "{term.kind}"', f'output = "{term.output}"', f'target = "{term.target}"']
    if term.weight != 1.0:
        lines.append(f"weight = {term.weight}")
    return [*lines, *(f"{key} = {value(item)}" for key, item in term.settings.items()), ""]


def write_settings(family, data, path, model="model.onnx", arrays="data.npz", threads=2):
    """Writes `trainer.toml` for 20 steps of plain SGD over the data in their order. Paths are relative to the file."""
    lines = ['device = "cpu"', f"threads = {threads}", "metrics = []", ""]
    lines += ["[model]", f'onnx = "{model}"']
    lines += [f"freeze = {json.dumps(family.freeze)}"] if family.freeze else []
    lines += ["", "[data]", f'train = "{arrays}"', "shuffle = false"]
    lines += [f'inputs.{name} = {{ array = "{name}" }}' for name in data.inputs]
    lines += [f'targets.{name} = {{ array = "{name}" }}' for name in data.targets]
    lines += [""]
    first, *further = family.losses
    lines += loss_table(first, "loss")
    for term in further:
        lines += loss_table(term, f"loss.auxiliary.{term.output}")
    lines += ["[optimizer]", 'kind = "sgd"', f"lr = {family.lr}", ""]
    lines += ["[train]", "epochs = 1", f"batch_size = {family.batch}", ""]
    # The time of an epoch is to be that of its steps.
    lines += ["[checkpoint]", "every_epochs = 1000", "on_best = false", ""]
    path.write_text("\n".join(lines))
