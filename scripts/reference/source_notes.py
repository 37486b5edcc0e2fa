"""What PyTorch's exporters write into a model about the sources it came from."""

import onnx

# Whether a value is a parameter or a buffer: part of what the model is.
KIND = "pkg.torch.export.graph_signature.InputSpec.kind"


def strip_source_notes(path):
    """Removes stack traces and metadata, which hold paths of the machine and are larger than small weights."""
    proto = onnx.load(path)
    graph = proto.graph
    parts = [proto, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output]
    for function in proto.functions:
        parts += [function, *function.node, *function.value_info]
    for part in parts:
        part.ClearField("doc_string")
        kept = [(entry.key, entry.value) for entry in part.metadata_props if entry.key == KIND]
        part.ClearField("metadata_props")
        for key, value in kept:
            part.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
