"""What stands between quantized layers: batch norms become part of scales, clips of quantizers.

Both are exact. A batch norm in evaluation mode multiplies each output channel by a gain; the
channel's scale takes it, the codes stay (with the sign of the gain). A ReLU before a quantizer
whose least level is 0 changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autocomp.exporters.graph import Graph, attribute
from autocomp.exporters.integers import Codes

_ORDERLY = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
"""Operators that commute with quantization: they move or choose values."""


def fold_norm(graph: Graph, layer: Any, codes: Codes, axis: int) -> Codes:
    """Takes the batch norm behind a convolution or Gemm out of the graph, if there is one.

    g = gamma / sqrt(var + eps) multiplies the scales, b' = g b + beta - g mean replaces the bias.

    Args:
        graph: the graph, changed in place.
        layer: a Conv or Gemm that alone uses the weight.
        codes: its weight.
        axis: the weight's axis of outputs.

    Returns:
        The weight, with the gain if there was a batch norm.
    """
    norm = graph.only_user(layer.output[0])
    if norm is None or norm.op_type != "BatchNormalization" or codes.axis not in (None, axis):
        return codes
    if attribute(norm, "training_mode", 0) or len([x for x in norm.output if x]) != 1:
        return codes
    parts = [graph.constant(name) for name in norm.input[1:5]]
    bias = bias_of(graph, layer, codes.values.shape[axis])
    if bias is None or any(part is None for part in parts):
        return codes
    gamma, beta, mean, var = (np.asarray(part, np.float64) for part in parts)
    gain = gamma / np.sqrt(var + attribute(norm, "epsilon", 1e-5))
    shift = gain * bias + beta - gain * mean
    name = graph.add_constant(f"{layer.input[1]}.bias", shift.astype(np.float32))
    del layer.input[2:]
    layer.input.append(name)
    after, before = norm.output[0], layer.output[0]
    graph.remove(norm)
    graph.rename(before, after)
    return codes.times(gain, axis)


def bias_of(graph: Graph, layer: Any, outputs: int) -> npt.NDArray[np.float64] | None:
    """Returns a Conv's or Gemm's bias, zeros if it has none; None if it is not a constant."""
    if len(layer.input) < 3 or not layer.input[2]:
        return np.zeros(outputs)
    array = graph.constant(layer.input[2])
    if array is None or array.shape != (outputs,):
        return None
    return array.astype(np.float64)


def quantizer_behind(graph: Graph, value: str) -> Any | None:
    """Returns the QuantizeLinear that `value` goes to and nothing else, or None.

    What moves or chooses values on the way is passed over; `drop_clips` comes first.
    """
    node = graph.only_user(value)
    while node is not None and node.op_type != "QuantizeLinear":
        if node.op_type not in _ORDERLY:
            return None
        value = node.output[0]
        node = graph.only_user(value)
    return node


def drop_clips(graph: Graph) -> int:
    """Takes out each Relu and Clip before a QuantizeLinear that clips as much; returns how many.

    What is left is a convolution right before a quantizer, which runtimes make one integer
    operator of.
    """
    dropped = 0
    for quantizer in [n for n in graph.model.graph.node if n.op_type == "QuantizeLinear"]:
        low, high = _levels(graph, quantizer)
        node = graph.producer(quantizer.input[0])
        while node is not None and graph.only_user(node.output[0]) is not None:
            step = float(np.asarray(graph.constant(quantizer.input[1])))
            if node.op_type in ("Relu", "Clip"):
                least, most = clip_limits(graph, node)
                before = graph.producer(node.input[0])
                if np.rint(least / step) > low or np.rint(most / step) < high:
                    break
                graph.redirect(node.output[0], node.input[0])
                graph.remove(node)
                dropped += 1
                node = before
            elif node.op_type in _ORDERLY:
                node = graph.producer(node.input[0])
            else:
                break
    return dropped


def _levels(graph: Graph, quantizer: Any) -> tuple[int, int]:
    """Returns the least and the largest code of a quantizer, zero at 0."""
    zero_point = np.asarray(graph.constant(quantizer.input[2]))
    zero, top = int(zero_point), int(np.iinfo(zero_point.dtype).max)
    limit = graph.only_user(quantizer.output[0])
    if limit is not None and limit.op_type == "Min":
        top = int(np.asarray(graph.constant(limit.input[1])))
    return -zero, top - zero


def clip_limits(graph: Graph, node: Any) -> tuple[float, float]:
    """Returns what a Relu or a Clip clips to; (inf, -inf) where that is not a constant."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    limits = [-np.inf, np.inf]
    for i, name in enumerate(node.input[1:3]):
        if name:
            array = graph.constant(name)
            limits[i] = [np.inf, -np.inf][i] if array is None else float(array)
    return limits[0], limits[1]
