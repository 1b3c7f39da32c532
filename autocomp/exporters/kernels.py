"""The operators that an exported file becomes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from autocomp.runtime import library, open_session

_THROUGH = ("DequantizeLinear", "Transpose", "Cast", "Identity")


def kernels(data: bytes) -> dict[str, str]:
    """Returns which operators take each constant in the graph that onnxruntime really runs.

    Raises:
        ModelError: if it cannot load the file.
    """
    onnx = library("onnx")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimised.onnx"
        open_session(data, save=file)
        graph = onnx.load(str(file)).graph
    found: dict[str, str] = {}
    for tensor in graph.initializer:
        used, types = {tensor.name}, set()
        for node in graph.node:  # in topological order
            if used & set(node.input):
                if node.op_type in _THROUGH:
                    used |= set(node.output)
                    types |= {node.op_type} & {"DequantizeLinear"}
                else:
                    types.add(node.op_type)
        found[tensor.name] = " + ".join(sorted(types))
    return found
