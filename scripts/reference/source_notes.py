"""What PyTorch's exporters write into a model about the sources it came from."""

import onnx


def strip_source_notes(path):
    """Removes stack traces and metadata, which hold paths of the machine and are larger than small weights."""
    proto = onnx.load(path)
    graph = proto.graph
    parts = [proto, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output]
    for function in proto.functions:
        parts += [function, *function.node, *function.value_info]
    for part in parts:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
