"""Proof that a copy of a network stands for it: it computes the same, from weights of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autocomp.core.structured import Inputs
from autocomp.errors import LayerError, ModelError
from autocomp.network.forward import forward
from autocomp.network.modes import evaluation_mode
from autocomp.network.operations import OperationMode

TOLERANCE = 1e-3
"""Largest difference of outputs that are equal but for rounding, relative to the largest output."""


class _Reads(OperationMode):  # type: ignore[no-untyped-call]
    """Notes the memory that the operations of a forward pass read."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[int] = set()

    def note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Notes where an operation's arguments are."""
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                self.places.add(place_of(value))


def place_of(tensor: Tensor) -> int:
    """Returns where a tensor's memory begins; 0 for a tensor without memory."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return 0


def read_places(model: nn.Module, inputs: Inputs) -> set[int]:
    """Returns the places of the tensors that a forward pass in evaluation mode reads.

    The second pass counts: what a network works out from a weight once, and keeps, does not follow
    what is written into the weight.
    """
    with torch.no_grad(), evaluation_mode(model):
        forward(model, inputs)
        reads = _Reads()
        with reads:
            forward(model, inputs)
    return reads.places - {0}


def check_copy(original: nn.Module, copied: nn.Module, inputs: Inputs) -> None:
    """Checks that a copy reads none of the original's tensors and computes what that computes.

    Args:
        original: the network that was copied; its buffers are put back as they were.
        copied: the copy.
        inputs: a few inputs, in the copy's dtype.

    Raises:
        ModelError: if the copy reads the original's tensors, or gives other outputs.
        LayerError: if a forward pass fails.
    """
    own = {place_of(t) for t in _tensors(copied).values()}
    names = {place_of(t): name for name, t in reversed(_tensors(original).items())}
    shared = sorted(names[place] for place in (own & names.keys()) - {0})
    if shared:
        raise ModelError(
            f"A copy of the network must have memory of its own, but shares {shared[0]!r} with the "
            "network that was given; let __deepcopy__ copy it."
        )
    given = inputs.to(_device(copied))
    foreign = (read_places(copied, given) & names.keys()) - own
    if foreign:
        read = sorted(names[place] for place in foreign)
        raise ModelError(
            f"A copy of the network must compute with weights of its own, but "
            f"{_culprit(original, read[0])} goes on reading {read[0]!r} of the network that was "
            "given; put the forward pass into the class."
        )
    theirs = outputs_of(original, inputs.to(_device(original)))
    ours = outputs_of(copied, given)
    if not all(bool(torch.isfinite(x).all()) for x in ours if x.is_floating_point()):
        raise ModelError(
            "The network's outputs must be finite, but hold NaN or infinity for calibration "
            "inputs; give a trained network, and inputs scaled as in its training."
        )
    if not agree(theirs, outputs_of(original, inputs.to(_device(original)))):
        raise ModelError(
            "The network must give the same outputs for the same inputs in evaluation mode, but "
            "they differ; give dropout and the like `training=self.training`."
        )
    if agree(theirs, ours):
        return
    raise ModelError(
        "A copy of the network must compute what the network computes, but its outputs differ; "
        "keep what the forward pass needs in the network's own attributes."
    )


def without_effect(
    model: nn.Module, weights: Mapping[str, Tensor], inputs: Inputs
) -> tuple[str, ...]:
    """Names the weights that may be anything without the outputs changing, one by one.

    A weight may be read and yet not used: of one that is standardised, a copy may be cached.

    Args:
        model: the network; its weights are put back.
        weights: name -> weight.
        inputs: a few inputs.

    Raises:
        ModelError: if that is so of all of them.
    """
    plain = outputs_of(model, inputs)
    generator = torch.Generator().manual_seed(1)
    found = []
    with torch.no_grad():
        for name, weight in weights.items():
            kept = weight.detach().clone()
            noise = torch.rand(kept.shape, generator=generator).to(kept)
            weight.copy_(kept * (0.5 + noise) + kept.abs().mean() * (noise - 0.5))
            changed = outputs_of(model, inputs)
            weight.copy_(kept)
            if plain and all(torch.equal(a, b) for a, b in zip(plain, changed, strict=True)):
                found.append(name)
    if len(found) == len(weights) > 0:
        raise ModelError(
            "What is written into the network's weights must change its outputs, but it does not; "
            "read the weights in each forward pass, and keep no copies of them."
        )
    return tuple(found)


def try_channels_last(model: nn.Module, inputs: Inputs) -> bool:
    """Puts the weights of a network in channels-last order where it computes the same with it.

    Args:
        model: the network; it keeps its own order where it does not run in the other, or gives
            other outputs (`.view` takes tensors apart by their order in memory).
        inputs: a few inputs.
    """
    wide = [p for p in model.parameters() if p.dim() == 4]
    if not isinstance(inputs, Tensor) or inputs.dim() != 4 or not wide:
        return False
    plain = outputs_of(model, inputs)
    before = [p.data for p in wide]
    for parameter in wide:
        parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    try:
        if agree(plain, outputs_of(model, inputs.contiguous(memory_format=torch.channels_last))):
            return True
    except LayerError:
        pass  # it runs in its own order
    for parameter, data in zip(wide, before, strict=True):
        parameter.data = data
    return False


def in_plain_order(model: nn.Module) -> nn.Module:
    """Puts the tensors of a network in torch's usual order of memory; returns the network."""
    for tensor in (*model.parameters(), *model.buffers()):
        if not tensor.is_contiguous():
            tensor.data = tensor.data.contiguous()
    return model


def agree(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether two networks' outputs are equal but for rounding."""
    return len(first) == len(second) and all(
        a.shape == b.shape and _near(a.cpu(), b.cpu()) for a, b in zip(first, second, strict=True)
    )


def _near(first: Tensor, second: Tensor) -> bool:
    if not (first.is_floating_point() and second.is_floating_point()):
        return torch.equal(first, second)
    first, second = first.double(), second.double()
    finite = first[torch.isfinite(first)]
    scale = float(finite.abs().max()) if len(finite) else 1.0
    return torch.allclose(first, second, rtol=0.0, atol=TOLERANCE * scale, equal_nan=True)


def outputs_of(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Returns the tensors of a network's output; its buffers stay as they were."""
    buffers = [(b, b.clone()) for b in model.buffers()]
    with torch.no_grad(), evaluation_mode(model):
        found = forward(model, inputs)
        for buffer, before in buffers:
            if buffer.shape == before.shape:
                buffer.copy_(before)
    return [leaf.detach().clone() for leaf in leaves_of_output(found)]


def leaves_of_output(found: Any) -> list[Tensor]:
    """Returns the tensors of an output, also of a dataclass."""
    leaves: list[Tensor] = []
    for leaf in tree_leaves(found):
        if isinstance(leaf, Tensor):
            leaves.append(leaf)
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            leaves += leaves_of_output([getattr(leaf, part.name) for part in fields(leaf)])
    return leaves


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = dict(model.named_parameters())
    tensors.update({k: b for k, b in model.named_buffers() if b.is_floating_point()})
    return tensors


def _device(model: nn.Module) -> torch.device:
    return next((t.device for t in _tensors(model).values()), torch.device("cpu"))


def _culprit(model: nn.Module, tensor: str) -> str:
    """Names the module whose forward pass was replaced, nearest above a tensor."""
    modules = dict(model.named_modules())
    name = tensor
    while name:
        name = name.rpartition(".")[0]
        if "forward" in vars(modules[name]):
            return f"the replaced forward pass of {name or 'the network'!r}"
    return f"the forward pass ({type(model).__name__})"
