"""From a PyTorch network to an ONNX graph that still has floating-point weights."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.errors import ModelError
from autocomp.plugins.imports import describe

_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class TracedQuantizer:
    """An `ActivationQuantizer` in ONNX's operators, for tracing.

    q = min(saturate(round(x / step) - lower), 2^bits - 1) in uint8 or uint16, then
    x' = step * (q + lower): QuantizeLinear and DequantizeLinear with the same rounding (half to
    even) and, from the type's own limits and a Min of the integers, the same clipping. Fewer than
    8 bits are shifted to the top of the byte, at a step that is as many times smaller: exact, and
    the unit in which integer operators round biases gets finer.
    """

    quantizer: ActivationQuantizer

    def quantize(self, values: Tensor) -> Tensor:
        """Returns the rounded values; they are only meaningful in an exported graph."""
        own = self.quantizer
        kind = torch.uint8 if own.bits <= 8 else torch.uint16
        step, zero = torch.tensor(own.step), torch.tensor(-own.lower, dtype=kind)
        if 8 < own.bits < 16:  # runtimes lack Min for uint16
            values = values.clamp(max=(own.lower + 2**own.bits - 1) * own.step)
        codes = _symbolic("QuantizeLinear", (values, step, zero), kind, values)
        if own.bits < 8:
            shift = 8 - own.bits
            top, by = (torch.tensor(x, dtype=kind) for x in (2**own.bits - 1, shift))
            codes = _symbolic("Min", (codes, top), kind, values)
            codes = _symbolic("BitShift", (codes, by), kind, values, direction="LEFT")
            step = torch.tensor(own.step / 2**shift)
            zero = torch.tensor(-own.lower * 2**shift, dtype=kind)
        return _symbolic("DequantizeLinear", (codes, step, zero), torch.float32, values)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the inputs of a module call; what is given twice is quantized once."""
        done: dict[int, Tensor] = {}
        for x in inputs:
            if isinstance(x, Tensor) and x.is_floating_point() and id(x) not in done:
                done[id(x)] = self.quantize(x)
        return tuple(done.get(id(x), x) for x in inputs)


def _symbolic(
    operator: str, inputs: tuple[Tensor, ...], kind: torch.dtype, like: Tensor, **attributes: Any
) -> Tensor:
    made: Tensor = torch.onnx.ops.symbolic(
        operator, inputs, attributes, dtype=kind, shape=like.shape
    )
    return made


def bare(network: nn.Module) -> nn.Module:
    """Returns a float32 copy of a network in evaluation mode, without activation quantizers."""
    copied = copy.deepcopy(network).eval().float().cpu()
    for module in copied.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, ActivationQuantizer):
                del module._forward_pre_hooks[key]
    return copied


def trace(
    network: nn.Module,
    example: Tensor,
    opset: int,
    activations: Mapping[str, ActivationQuantizer],
    weights: Collection[str],
) -> Any:
    """Returns the network as an ONNX model (a `ModelProto`), for any number of images.

    Args:
        network: the network; a copy of it is traced, its own activation quantizers do not count.
        example: inputs `(n, ...)`.
        opset: version of ONNX's operators.
        activations: module name -> the quantizer of its inputs.
        weights: state-dict names of weights that become inputs of the graph, so that no
            optimisation touches them; those that the graph does not use are left out.

    Raises:
        ModelError: if the network cannot be traced, or an operator does not exist in ONNX.
    """
    copied = bare(network)
    for host, quantizer in activations.items():
        copied.get_submodule(host).register_forward_pre_hook(TracedQuantizer(quantizer))
    images = example.cpu()
    images = images.float() if images.is_floating_point() else images
    # a batch of one would be taken for a constant
    images = torch.cat([images, images])[:2].contiguous()
    with _quiet():
        try:
            program: Any = torch.onnx.export(
                copied, (images,), dynamo=True, optimize=False, opset_version=opset, verbose=False,
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), input_names=["input"],
                output_names=["logits"],
            )  # fmt: skip
            graph = program.model.graph
            for name in weights:
                if name in graph.initializers:
                    value = graph.initializers.pop(name)
                    value.const_value = None
                    graph.inputs.append(value)
            program.optimize()
            proto = program.model_proto
        except Exception as error:
            raise ModelError(_reason(error, opset)) from error
    found = max(x.version for x in proto.opset_import if x.domain in ("", "ai.onnx"))
    if found != opset:
        raise ModelError(
            f"The network must exist in ONNX opset {opset}, but only opset {found} has all of its "
            f"operators; export it with opset {found}."
        )
    return proto


def _reason(error: BaseException, opset: int) -> str:
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    operator = re.search(r"target=torch\.ops\.([\w.]+)", "\n".join(map(str, chain)))
    if operator is not None:
        return (
            f"Every operator of the network must exist in ONNX opset {opset}, but {operator[1]} "
            "does not; write the network without it."
        )
    return (
        "The network must be one that torch.export can trace for any number of images, but it "
        f"raised {describe(chain[-1])}; remove what depends on values or on the batch size."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the exporter says of itself; fused attention is no operator of ONNX."""
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in _LOGGERS]
    fused = torch.backends.mha.get_fastpath_enabled()
    for logger, _ in before:
        logger.setLevel(logging.CRITICAL)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for logger, level in before:
            logger.setLevel(level)
