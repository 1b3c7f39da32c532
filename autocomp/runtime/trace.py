"""From a PyTorch network to an ONNX graph that has floating-point weights: the one export."""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from autocomp.core.structured import Inputs, Structured, moved, names_of
from autocomp.errors import ModelError
from autocomp.network.quantizers import strip_quantizers
from autocomp.network.rebinding import copy_network
from autocomp.plugins.imports import describe
from autocomp.runtime.libraries import library
from autocomp.runtime.model_proto import OPSET

Hook = Callable[[nn.Module, tuple[Any, ...]], Any]
"""A forward pre-hook: takes a module and its inputs, may return others."""
OutputHook = Callable[[nn.Module, tuple[Any, ...], Any], Any]
"""A forward hook: takes a module, its inputs and its output, may return another."""

_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def bare(network: nn.Module) -> nn.Module:
    """Returns a float32 copy of a network in evaluation mode, without activation quantizers."""
    copied = copy_network(network).eval().float().cpu()
    strip_quantizers(copied)
    return copied


def trace(
    network: nn.Module,
    example: Inputs,
    opset: int = OPSET,
    hooks: Mapping[str, Hook] | None = None,
    weights: Collection[str] = (),
    output_hooks: Mapping[str, OutputHook] | None = None,
    one: bool = False,
) -> Any:
    """Returns the network as an ONNX model (a `ModelProto`), for any number of images.

    Args:
        network: the network; a copy of it is traced, its own activation quantizers do not count.
        example: inputs `(n, ...)`.
        opset: version of ONNX's operators.
        hooks: module name -> what its inputs pass on their way, traced like the network.
        weights: state-dict names of weights that become inputs of the graph, so that no
            optimisation touches them; those that the graph does not use are left out.
        output_hooks: module name -> what its output passes.
        one: the graph is for one input alone, so that every shape in it is fixed.

    Raises:
        ModelError: if a library is missing, the network cannot be traced, or an operator does not
            exist in ONNX.
    """
    for name in ("onnx", "onnxscript"):
        library(name)
    copied = bare(network)
    for host, hook in (hooks or {}).items():
        copied.get_submodule(host).register_forward_pre_hook(hook)
    for host, output_hook in (output_hooks or {}).items():
        copied.get_submodule(host).register_forward_hook(output_hook)
    args, kwargs = _arguments(copied, moved(example, _single if one else _twice))
    with _quiet():
        try:
            traced, free = (copied, None) if one else _exportable(copied, args, kwargs)
            program: Any = torch.onnx.export(
                traced, *(() if traced is not copied else (args,)),
                kwargs=kwargs if traced is copied else None, dynamo=True,
                optimize=False, opset_version=opset, verbose=False, dynamic_shapes=free,
                input_names=names_of(example), output_names=["logits"],
            )  # fmt: skip
            graph = program.model.graph
            for name in weights:
                if name in graph.initializers:
                    value = graph.initializers.pop(name)
                    value.const_value = None
                    graph.inputs.append(value)
            program.optimize()
            proto = program.model_proto
        except Exception as error:  # what the network's own forward raises comes through, too
            raise ModelError(_reason(error, opset)) from error
    found = max(x.version for x in proto.opset_import if x.domain in ("", "ai.onnx"))
    if found != opset:
        raise ModelError(
            f"The network must exist in ONNX opset {opset}, but only opset {found} has all of its "
            f"operators; export it with opset {found}."
        )
    return proto


def _twice(leaf: Tensor) -> Tensor:
    """Returns two samples, in float32: a batch of one would be taken for a constant."""
    leaf = leaf.detach().cpu()
    leaf = leaf.float() if leaf.is_floating_point() else leaf
    return torch.cat([leaf, leaf])[:2].contiguous()


def _single(leaf: Tensor) -> Tensor:
    """Returns one sample, in float32."""
    return _twice(leaf)[:1].contiguous()


def _arguments(network: nn.Module, example: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Structured):
        return example.arguments(network.forward)
    return (example,), {}


def _exportable(
    network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    """Returns what the exporter takes, and which axes are free.

    A mapping as an argument is traced first: the exporter's own way loses its entries.
    """
    free = _batches(network, args, kwargs)
    if any(isinstance(value, Mapping) for value in args):
        return torch.export.export(network, args, kwargs, dynamic_shapes=free, strict=False), None
    return network, free


def _batches(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns that every tensor's first axis is free, in the form that torch.export takes."""

    def free(value: Any) -> Any:
        return tree_map(
            lambda x: {0: torch.export.Dim.DYNAMIC} if isinstance(x, Tensor) else None, value
        )

    signature = inspect.signature(network.forward)
    several = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    if not kwargs and not several:
        return tuple(map(free, args))
    bound = signature.bind(*args, **kwargs).arguments
    return {name: free(value) for name, value in bound.items()}


def _reason(error: BaseException, opset: int) -> str:
    chain = [error]
    while True:
        last = chain[-1]
        cause = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if cause is None:
            break
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
    """Keeps the exporter from writing: of its own future, missing libraries, and whole graphs.

    Fused attention, which is no operator of ONNX, is off meanwhile.
    """
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in _LOGGERS]
    fused = torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        for logger, _ in before:
            logger.setLevel(logging.CRITICAL)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for logger, level in before:
                logger.setLevel(level)
