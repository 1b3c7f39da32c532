"""The weights and inputs of a group's units, as tensors in which one axis counts the units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.structure.groups import ChannelGroup, Member
from autocomp.errors import LayerError

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Seat:
    """One member of a group: where its units sit on one axis of one module.

    Attributes:
        group: the group's name.
        module: the module's name.
        role: as in `Member`.
        units: the units that the module has; padded shortcuts can lack some.
        places: for each of them its places on the axis, `(units, places)`.
    """

    group: str
    module: str
    role: str
    units: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, group: ChannelGroup, member: Member) -> Seat:
        """Returns the seat of a member.

        Raises:
            LayerError: if units have different numbers of places there, or none has any.
        """
        units = tuple(u for u, places in enumerate(member.channels) if places)
        places = tuple(tuple(member.channels[u]) for u in units)
        counts = {len(p) for p in places}
        if len(counts) != 1 or len(member.channels) != group.units:
            raise LayerError(
                f"Every unit of group {group.name!r} must have as many places in "
                f"{member.module!r}, but got {sorted(counts)} for {len(member.channels)} of "
                f"{group.units} units; list the places of each unit."
            )
        return cls(group.name, member.module, member.role, units, places)

    def take(self, values: Tensor, axis: int) -> Tensor:
        """Returns the values of the units: `axis` becomes the two axes (units, places)."""
        index = torch.tensor(self.places, device=values.device)
        axis %= values.dim()
        taken = values.index_select(axis, index.reshape(-1))
        return taken.reshape(*values.shape[:axis], *index.shape, *values.shape[axis + 1 :])

    def weights(self, module: nn.Module, tensor: Tensor) -> Tensor:
        """Returns what of a tensor shaped like the module's weight is each unit's: `(units, k)`."""
        return self.take(by_place(module, self.role, tensor), 0).flatten(1)

    def inputs(self, module: nn.Module, tensor: Tensor) -> Tensor:
        """Returns the units of the module's input: `(n, units, positions)`."""
        if isinstance(module, (*CONV, *TRANSPOSED)):
            channels_first = tensor.flatten(2)
        else:  # linear layers count features last
            channels_first = tensor.reshape(len(tensor), -1, tensor.shape[-1]).transpose(1, 2)
        return self.take(channels_first, 1).flatten(2)


def producers(model: nn.Module, group: ChannelGroup) -> list[Seat]:
    """Returns the layers that make the group's units, depthwise convolutions too."""
    return [Seat.of(group, member) for member in group.by_role("out")]


def norms(model: nn.Module, group: ChannelGroup) -> list[Seat]:
    """Returns the batch norms on the group's units; other modules without a gain are left out."""
    found = [Seat.of(group, member) for member in group.by_role("side")]
    return [s for s in found if getattr(model.get_submodule(s.module), "weight", None) is not None]


def consumers(model: nn.Module, group: ChannelGroup) -> list[Seat]:
    """Returns the layers that read the group's units.

    A depthwise convolution hands each channel on, so it counts as a reader only if nothing else is.
    """
    found = [Seat.of(group, member) for member in group.by_role("in")]
    real = [seat for seat in found if not depthwise(model.get_submodule(seat.module))]
    return real or found


def depthwise(module: Any) -> bool:
    """Says whether a module is a convolution that gives each channel its own filter."""
    if not isinstance(module, (*CONV, *TRANSPOSED)):
        return False
    return module.groups > 1 and module.groups == module.in_channels == module.out_channels


def by_place(module: nn.Module, role: str, tensor: Tensor) -> Tensor:
    """Arranges a tensor shaped like the module's weight as `(places on the role's axis, k)`.

    Args:
        module: a convolution, linear layer, embedding or norm.
        role: "out", "in" or "side"; places count over all groups of a grouped convolution.
        tensor: the weight, or its gradient.
    """
    if role == "side" or tensor.dim() == 1:
        return tensor.reshape(-1, 1)
    if isinstance(module, nn.Embedding):
        return tensor.t()  # its outputs are its columns
    own_axis = isinstance(module, TRANSPOSED) == (role == "in")  # the axis that comes first
    if own_axis:
        return tensor.flatten(1)
    groups = int(getattr(module, "groups", 1))
    split = tensor.reshape(groups, len(tensor) // groups, tensor.shape[1], -1)
    return split.transpose(1, 2).flatten(2).flatten(0, 1)


def unit_parameters(model: nn.Module, group: ChannelGroup) -> Tensor:
    """Returns how many parameters go with each unit, float64 `(units,)`."""
    counts = torch.zeros(group.units, dtype=torch.float64)
    for member in group.members:
        seat = Seat.of(group, member)
        module: Any = model.get_submodule(seat.module)
        if member.role == "in" and depthwise(module):
            continue  # its filters are counted as outputs
        per_unit = seat.weights(module, module.weight).shape[1] if module.weight is not None else 0
        if member.role != "in" and getattr(module, "bias", None) is not None:
            per_unit += len(seat.places[0])
        counts[list(seat.units)] += per_unit
    return counts


def unit_macs(model: nn.Module, group: ChannelGroup, outputs: dict[str, tuple[int, ...]]) -> Tensor:
    """Returns how many multiply-accumulates go with each unit, float64 `(units,)`.

    Args:
        model: the network.
        group: the group.
        outputs: module name -> shape of one example's output, without the batch.
    """
    counts = torch.zeros(group.units, dtype=torch.float64)
    for seat in [*producers(model, group), *consumers(model, group)]:
        module: Any = model.get_submodule(seat.module)
        if seat.role == "in" and depthwise(module):
            continue
        shape = outputs[seat.module]
        convolves = isinstance(module, (*CONV, *TRANSPOSED))
        positions = math.prod(shape[1:] if convolves else shape[:-1])
        weights = seat.weights(module, module.weight).shape[1]
        counts[list(seat.units)] += positions * weights
    return counts
