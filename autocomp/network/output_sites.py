"""Finding where convolutions' outputs stay in floating point unless they are rounded themselves.

A runtime makes a convolution one integer operator if its inputs and its outputs are integers. The
outputs are where the next layer rounds its inputs, and nothing else reads them. Everywhere else
(sums, concatenations, several readers, an activation function other than a clip) they are not, and
a quantizer of their own has to stand behind the convolution or its batch norm; and behind the sum,
for an addition of integers gives integers only if its result is rounded, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from autocomp.core.output_site import OutputSite
from autocomp.core.structured import Inputs
from autocomp.network.faithful import leaves_of_output
from autocomp.network.forward import forward
from autocomp.network.modes import evaluation_mode
from autocomp.network.operations import OperationMode
from autocomp.network.quantizers import without_quantizers

_MOVES = ("max_pool", "view", "_unsafe_view", "reshape", "flatten", "permute", "transpose", "t",
          "squeeze", "unsqueeze", "clone", "contiguous", "detach", "alias")  # fmt: skip
"""Operators that move or choose values: those that an export passes a quantizer through."""
_SUMS = ("add", "add_")
_NORMS = ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
          "_batch_norm_no_update", "batch_norm", "miopen_batch_norm")  # fmt: skip


@dataclass(eq=False)
class _Value:
    """A tensor between two operators.

    Attributes:
        operator: what made it, "" for an input.
        arguments: the operator's arguments that are no tensors.
        parents: the values that it was made of.
        readers: the values that are made of it.
        inside: the layer whose module was running, "" outside of all.
        modules: the modules that return it, the innermost first.
        end: whether the network returns it.
    """

    operator: str = ""
    arguments: tuple[Any, ...] = ()
    parents: tuple[_Value, ...] = ()
    readers: list[_Value] = field(default_factory=list)
    inside: str = ""
    modules: list[str] = field(default_factory=list)
    end: bool = False

    @property
    def clip(self) -> tuple[float, float] | None:
        """The limits that the operator clips to; None if it does something else."""
        if self.operator in ("relu", "relu_"):
            return 0.0, inf
        if self.operator in ("clamp", "clamp_", "hardtanh", "hardtanh_", "clamp_min"):
            low, high = (*self.arguments, None, None)[:2]
            return (-inf if low is None else low), (inf if high is None else high)
        return None

    @property
    def moves(self) -> bool:
        """Whether the operator only moves or chooses values."""
        return self.operator.startswith(_MOVES[0]) or self.operator in _MOVES


class _Values(OperationMode):  # type: ignore[no-untyped-call]
    """Notes which values a forward pass makes of which."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self._held: list[object] = []  # tensors, so that no two have the same id
        self._values: dict[int, _Value] = {}

    def of(self, tensor: Tensor) -> _Value:
        """Returns what a tensor holds now."""
        if id(tensor) not in self._values:
            self._held.append(tensor)
            self._values[id(tensor)] = _Value()
        return self._values[id(tensor)]

    def note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Adds the value that an operation makes."""
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        parents = tuple(self.of(x) for x in given if x.is_floating_point())
        operator = str(getattr(func, "overloadpacket", func)).rpartition(".")[2]
        others = tuple(x for x in tree_leaves(args) if not isinstance(x, Tensor))
        for made in tree_leaves(output):
            if isinstance(made, Tensor) and made.is_floating_point() and made.dim():
                value = _Value(
                    operator, others, parents, inside=self.inside[-1] if self.inside else ""
                )
                self._held.append(made)
                self._values[id(made)] = value
                for parent in parents:
                    parent.readers.append(value)
                break  # what else it returns (indices, statistics) nobody reads on


def output_sites(
    model: nn.Module, inputs: Inputs, hosts: Mapping[str, str], rounded: Collection[str]
) -> dict[str, tuple[OutputSite, ...]]:
    """Returns where the outputs of convolutions have to be rounded for their own sake.

    Args:
        model: the network; run once in evaluation mode, left as it was.
        inputs: a few inputs.
        hosts: name of each convolution -> its module, in the order of a forward pass.
        rounded: modules of the layers whose inputs can be rounded.

    Returns:
        Name -> where its outputs are looked at first, then the sum that they go into; only those
        whose outputs are neither another layer's inputs alone nor the network's outputs.
    """
    values, made, norms, calls = _run(model, inputs, set(rounded) | set(hosts.values()))

    def once(name: str) -> bool:
        return calls.get(name, 0) == 1

    found: dict[str, tuple[OutputSite, ...]] = {}
    sums: dict[int, tuple[str, _Value]] = {}
    for name, host in hosts.items():
        value = made.get(host)
        if value is None or not once(host):
            continue
        module, readers = host, value.readers
        if len(readers) == 1 and readers[0].operator in _NORMS:
            behind = [m for m in readers[0].modules if m in norms]
            if behind and once(behind[0]):
                module, value = behind[0], readers[0]
        if _reaches_end(value) or _is_input(value, set(rounded)):
            continue
        low, high = _limits(value)
        found[name] = (OutputSite(module, low, high),)
        for total in _sums_of(value):
            sums[id(total)] = (name, total)  # the last of its summands has it
    for name, total in sums.values():
        site = _site_of_sum(total, once)
        if site is not None and not _is_input(total, set(rounded)) and not _reaches_end(total):
            found[name] = (*found[name], site)
    del values
    return found


def _run(
    model: nn.Module, inputs: Inputs, layers: set[str]
) -> tuple[_Values, dict[str, _Value], set[str], dict[str, int]]:
    """Returns the values, those that modules return, which are batch norms, and modules' calls."""
    values = _Values()
    made: dict[str, _Value] = {}
    calls: dict[str, int] = {}

    def begin(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if name in layers:
                values.inside.append(name)

        return hook

    def end(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if name in layers:
                values.inside.pop()
            if isinstance(output, Tensor):
                made[name] = values.of(output)
                made[name].modules.append(name)

        return hook

    def close(module: nn.Module, given: Any, output: Any) -> None:
        for leaf in leaves_of_output(output):
            values.of(leaf).end = True

    modules = dict(model.named_modules())
    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(without_quantizers(model))
        for name, module in modules.items():
            stack.callback(module.register_forward_pre_hook(begin(name)).remove)
            stack.callback(module.register_forward_hook(end(name)).remove)
        for first in (True, False):  # before and after a hook that takes out what counts
            stack.callback(model.register_forward_hook(close, prepend=first).remove)
        with torch.no_grad(), values:
            forward(model, inputs)
    norms = {name for name, module in modules.items() if isinstance(module, _BatchNorm)}
    return values, made, norms, calls


def _is_input(value: _Value, rounded: set[str]) -> bool:
    """Whether a value goes to the inputs of one layer that rounds them, and nowhere else."""
    while value.readers and not value.end:
        inside = {reader.inside for reader in value.readers}
        if len(inside) == 1 and inside <= rounded:
            return True
        reader = value.readers[0]
        if len(value.readers) > 1 or reader.inside:
            return False
        if reader.clip is None and not reader.moves:
            return False
        value = reader
    return False


def _reaches_end(value: _Value) -> bool:
    """Whether the network returns a value, clipped, moved or added to others at most."""
    waiting, seen = [value], {id(value)}
    while waiting:
        at = waiting.pop()
        if at.end:
            return True
        for x in at.readers:
            passes = x.clip is not None or x.moves or x.operator in _SUMS
            if passes and not x.inside and id(x) not in seen:
                seen.add(id(x))
                waiting.append(x)
    return False


def _limits(value: _Value) -> tuple[float, float]:
    """Returns what all readers of a value clip it to."""
    clips = [x.clip for x in value.readers]
    known = [clip for clip in clips if clip is not None]
    if not known or len(known) < len(clips):
        return -inf, inf
    return min(low for low, _ in known), max(high for _, high in known)


def _sums_of(value: _Value) -> list[_Value]:
    """Returns the sums of two values that a value goes into, clipped at most."""
    found = []
    for reader in value.readers:
        if reader.inside:
            continue
        if reader.operator in _SUMS and len(reader.parents) == 2:
            found.append(reader)
        elif reader.clip is not None:
            found += _sums_of(reader)
    return found


def _site_of_sum(total: _Value, once: Callable[[str], bool]) -> OutputSite | None:
    """Returns the module that returns a sum, or what it is clipped to; None without one."""
    low, high = _limits(total)
    after = total.readers[0] if len(total.readers) == 1 and total.readers[0].clip else None
    for value, limits in ((after, (-inf, inf)), (total, (low, high))):
        for module in value.modules if value is not None else ():
            if module and once(module):
                return OutputSite(module, *limits)
    return None
