"""Which channels must go together: dependency groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ROLES = ("out", "in", "side")


@dataclass(frozen=True)
class Member:
    """One axis of a module that loses channels with its group.

    Attributes:
        module: the module's name in `model.named_modules()`.
        role: "out" (rows of its weight, and its bias), "in" (columns of its weight) or "side"
            (every per-channel tensor of a batch norm or PReLU).
        channels: per unit, the places on that axis that belong to it. For a grouped convolution
            they are places among all its inputs or outputs; for a flattened input a unit has
            several.
    """

    module: str
    role: str
    channels: tuple[tuple[int, ...], ...]

    def of(self, units: tuple[int, ...] | list[int]) -> list[int]:
        """Returns the places that belong to some units, sorted."""
        return sorted(c for u in units for c in self.channels[u])


@dataclass(frozen=True)
class ChannelGroup:
    """Units (channels, heads or neurons) that are removed everywhere at once.

    Attributes:
        name: the layer whose choice decides: the first one in forward order that makes them.
        units: how many there are.
        members: every axis on which they live; producers ("out"), consumers ("in"), and norms
            between them ("side").
    """

    name: str
    units: int
    members: tuple[Member, ...]

    def without(self, stay: Iterable[int] | None) -> list[int]:
        """Returns the units that do not stay, sorted; none if `stay` is None."""
        return [] if stay is None else sorted(set(range(self.units)) - set(stay))

    def by_role(self, role: str) -> tuple[Member, ...]:
        """Returns the members of one role."""
        return tuple(member for member in self.members if member.role == role)
