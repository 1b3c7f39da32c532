"""What a score is divided by, so that scores of different groups can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.saliency.loss import Batch, chunks
from autocomp.compression.saliency.units import consumers, producers, unit_macs, unit_parameters
from autocomp.compression.structure.groups import ChannelGroup
from autocomp.network.modes import evaluation_mode

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Scaling:
    """One way of scaling.

    Attributes:
        divisor: (scores, model, group, output shapes) -> what to divide by, `(units,)` or one.
        needs_run: whether it needs the shapes of a forward pass.
    """

    divisor: Callable[[Tensor, nn.Module, ChannelGroup, Any], Tensor]
    needs_run: bool = False


SCALINGS: dict[str, Scaling] = {
    # 1
    "none": Scaling(lambda scores, model, group, shapes: torch.ones_like(scores)),
    # parameters that go with the unit: weights, biases and norms that make it, weights that read it
    "size": Scaling(lambda scores, model, group, shapes: unit_parameters(model, group)),
    # Euclidean norm of the group's scores (Molchanov et al. 2017, arXiv:1611.06440)
    "layer_norm": Scaling(lambda scores, model, group, shapes: scores.norm()),
    # mean size of the group's scores
    "layer_mean": Scaling(lambda scores, model, group, shapes: scores.abs().mean()),
    # multiply-accumulates of one example that go with the unit
    "macs": Scaling(lambda scores, model, group, shapes: unit_macs(model, group, shapes), True),
}


def scaled(
    name: str, scores: Tensor, model: nn.Module, group: ChannelGroup, shapes: Shapes
) -> Tensor:
    """Returns the scores over their divisor; where that is zero they stay as they are."""
    divisor = SCALINGS[name].divisor(scores, model, group, shapes)
    return scores / torch.where(divisor == 0, torch.ones_like(divisor), divisor)


def output_shapes(
    model: nn.Module, groups: Sequence[ChannelGroup], batches: Sequence[Batch]
) -> dict[str, tuple[int, ...]]:
    """Returns the shape of one example's output for every layer of the groups.

    Raises:
        DataError: if there is no example.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    names = {s.module for g in groups for s in (*producers(model, g), *consumers(model, g))}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return hook

    inputs, _ = next(iter(chunks(model, batches, 1)))
    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(evaluation_mode(model))
        for name in names:
            module = model.get_submodule(name)
            stack.callback(module.register_forward_hook(note(name)).remove)
        model(inputs)
    return shapes
