"""Writing a quantized weight into an ONNX graph: the fastest form that is exact.

- `MatMulNBits`: a large matrix of 4 bits that the runtime multiplies without unpacking it; with 2
  or 8 bits, and for small ones, it takes longer than plain floats (`benchmarks/kernels.py`).
- QDQ: inputs and weights of 8 bits between QuantizeLinear and DequantizeLinear, which the runtime
  makes one integer operator of (Jacob et al. 2018, arXiv:1712.05877). Narrower codes are stored as
  they are and widened to int8 by a Cast, which the runtime does once, when it loads the file.
- MatMulIntegerToFloat for a matrix with 8-bit inputs: exact sums of integers, multiplied out.
- Cast and Mul before a layer that runs in float32: smaller, not faster. DequantizeLinear would say
  the same, but by default a runtime repeats it for every batch.

ConvInteger is not used: onnxruntime's takes many times as long as its QLinearConv (272 against 15
microseconds in ResNet-20), so a convolution whose outputs are not quantized runs in float32.
"""

from __future__ import annotations

import numpy as np

from autocomp.exporters.convolution import as_int8, runs_whole, write_convolution
from autocomp.exporters.fold import fold_norm
from autocomp.exporters.graph import Graph
from autocomp.exporters.integers import Codes, store
from autocomp.exporters.matrix import Linear, Widths, is_layer, write_linear
from autocomp.exporters.tensors import dequantized, plain_name


def write_weight(graph: Graph, name: str, codes: Codes, widths: Widths) -> str | None:
    """Replaces the graph's input `name` by an integer weight.

    Args:
        graph: the graph, changed in place.
        name: the input that stands for the weight.
        codes: the weight.
        widths: which types may be used.

    Returns:
        How it is stored ("int4"); None if no integer type holds it: nothing was changed.
    """
    if store(codes, widths.dequantize) is None:
        return None
    graph.remove_input(name)
    uses = graph.users(name)
    if len(uses) == 1 and is_layer(uses[0], name):
        codes = fold_norm(graph, uses[0], codes, 0)
    stored = store(codes, widths.dequantize)
    assert stored is not None  # folding changes signs at most, and every type has both
    linear = [Linear.of(graph, use, name) for use in uses]
    if uses and all(x is not None for x in linear):
        return write_linear(graph, name, codes, [x for x in linear if x is not None], widths)
    if uses and all(runs_whole(graph, use, name, codes) for use in uses):
        whole, factors = as_int8(graph, name, stored)
        scales = (codes.per_channel(0).scale / factors).astype(np.float32)
        for use in uses:
            write_convolution(graph, name, scales, whole, use)
        return f"{stored.type_name} QDQ"
    graph.redirect(name, dequantized(graph, name, stored))
    return plain_name(stored)
