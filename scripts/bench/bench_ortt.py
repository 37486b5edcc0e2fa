"""ONNX Runtime Training 1.19.2 with AdamW."""

import contextlib
import io
import tempfile

import onnx
import onnxruntime
from onnxruntime.training import artifacts, onnxblock
from onnxruntime.training.api import CheckpointState, Module, Optimizer

import contender


def make_artifacts(model, folder):
    parameters = [initializer.name for initializer in model.graph.initializer]
    # It prints; standard output is for the result alone.
    with contextlib.redirect_stdout(io.StringIO()):
        artifacts.generate_artifacts(
            model,
            requires_grad=parameters,
            loss=artifacts.LossType.CrossEntropyLoss,
            # Its own defaults are not those of PyTorch.
            optimizer=onnxblock.optim.AdamW(eps=1e-8, weight_decay=0.01),
            artifact_directory=folder,
        )


def main():
    args = contender.arguments(__doc__).parse_args()
    onnxruntime.set_default_logger_severity(3)
    model = onnx.load(args.env / f"{args.model}.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    with tempfile.TemporaryDirectory() as folder:
        make_artifacts(model, folder)
        state = CheckpointState.load_checkpoint(f"{folder}/checkpoint")
        module = Module(f"{folder}/training_model.onnx", state, session_options=options)
        optimizer = Optimizer(f"{folder}/optimizer_model.onnx", module)
    optimizer.set_learning_rate(1e-3)
    module.train()

    def step(x, y):
        loss = module(x, y)
        optimizer.step()
        module.lazy_reset_grad()
        return float(loss)

    contender.report("ort-training", args, step)


if __name__ == "__main__":
    main()
