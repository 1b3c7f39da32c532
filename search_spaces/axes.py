"""Spaces that are a product of axes: one action entry for each property of a choice."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from autocomp.search_spaces.base import Action, ActionSpace, SearchSpace
from gymnasium import spaces

from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import SpaceError
from autocomp.plugins.bounds import check_flag, check_whole

KEEPS = {
    "channels": "channels kept",
    "pattern": "weights kept of each group",
    "rank": "rank kept",
    "sparsity": "weights kept",
}
"""What more of a property's entry keeps, where its name says the opposite or too little."""


@dataclass(frozen=True)
class Axis:
    """One property of a choice and its values, from the most compressed to the least.

    Attributes:
        field: the flat name of a field of `Choice`.
        values: its values.
    """

    field: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Raises SpaceError without values, ChoiceError for an impossible one."""
        if not self.values or len(set(self.values)) != len(self.values):
            raise SpaceError(f"`{self.field}` must list distinct values, but got {self.values}.")
        for value in self.values:
            Choice.of(**{self.field: value})

    def of(self, layer: LayerSpec) -> tuple[Any, ...]:
        """Returns the values that `layer` can take."""
        if self.field == "activation_bits" and not layer.quantizable_input:
            return (32,)
        if self.field == "output_bits" and not layer.output_sites:
            return (32,)
        if self.field == "channels":
            return _distinct_shares(layer, self.values)
        if self.field == "rank":
            return _distinct_ranks(layer, self.values)
        if self.field == "criterion" and not layer.units:
            return ("",)
        if self.field == "pattern":
            inputs = layer.shape[layer.in_axis]
            fitting = tuple(
                v for v in self.values if Choice.of(pattern=v).weights.n_of_m[1] <= inputs
            )
            return fitting or ("",)
        return self.values


def _distinct_shares(layer: LayerSpec, shares: tuple[float, ...]) -> tuple[float, ...]:
    """Returns the shares that are possible, as they are realised: one for each count of units."""
    if not layer.units:
        return (1.0,)
    counts = sorted({layer.units_kept(share) for share in shares})
    return tuple(min(1.0, round(count / layer.units, 4)) for count in counts)


def _distinct_ranks(layer: LayerSpec, shares: tuple[float, ...]) -> tuple[float, ...]:
    """Returns the shares of the full rank that are possible, one for each rank; 1 is whole."""
    if not layer.full_rank:
        return (1.0,)
    ranks = sorted({layer.rank_kept(share) for share in shares if share < 1})
    found = dict.fromkeys(min(round(rank / layer.full_rank, 4), 0.9999) for rank in ranks)
    return (*found, 1.0)


MOST_LEVELS = 1000
"""Most values of one property."""


class AxisSpace(SearchSpace):
    """The product of axes; base of the built-in spaces.

    Continuous: entry a in [-1, 1] selects value floor((a + 1) / 2 * k) of k, so that every value
    has an equal share of the interval (HAQ's rule, Wang et al. 2019, arXiv:1811.08886).
    Discrete: the entry is the index itself. A layer that can take fewer values divides the same
    interval among those.

    Attributes:
        axes: the properties that are chosen.
        fixed: properties that every choice shares.
        action_space: Box([-1, 1]^n), MultiDiscrete, or Discrete for a single axis.
    """

    action_space: ActionSpace

    def __init__(
        self, axes: Sequence[Axis], *, discrete: bool = False, fixed: dict[str, Any] | None = None
    ) -> None:
        check_flag(SpaceError, discrete=discrete)
        self.axes = tuple(axes)
        self.fixed = fixed or {}
        Choice.of(**self.fixed)
        self.discrete = discrete
        if discrete and len(self.axes) == 1:  # so that agents for Discrete spaces can act, too
            self.action_space = spaces.Discrete(len(self.axes[0].values))
        elif discrete:
            self.action_space = spaces.MultiDiscrete([len(axis.values) for axis in self.axes])
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (len(self.axes),), np.float32)

    @property
    def entry_names(self) -> tuple[str, ...]:
        """What a larger entry keeps more of."""
        return tuple(KEEPS.get(axis.field, axis.field.replace("_", " ")) for axis in self.axes)

    def choices(self, layer: LayerSpec) -> tuple[Choice, ...]:
        """Returns every combination of the axes' values, the most compressed first."""
        fields = [axis.field for axis in self.axes]
        made = (
            Choice.of(**dict(zip(fields, values, strict=True)), **self._fixed_of(layer))
            for values in itertools.product(*(axis.of(layer) for axis in self.axes))
        )
        return tuple(dict.fromkeys(made))  # with all channels, criteria are one

    def decode(self, layer: LayerSpec, action: Action) -> Choice:
        """Returns the choice that `action` means.

        Raises:
            SpaceError: if the action has another shape or a value that is no number.
        """
        given = np.asarray(action, np.float64).reshape(-1)
        if given.shape != (len(self.axes),) or not np.isfinite(given).all():
            raise SpaceError(
                f"An action must hold {len(self.axes)} finite numbers, but got {action!r}."
            )
        values = {}
        for axis, entry in zip(self.axes, given.tolist(), strict=True):
            allowed = axis.of(layer)
            k = len(allowed)
            share = entry / len(axis.values) if self.discrete else (entry + 1) / 2
            index = min(max(int(np.floor(share * k + 1e-9)), 0), k - 1)
            values[axis.field] = allowed[index]
        return Choice.of(**values, **self._fixed_of(layer))

    def _fixed_of(self, layer: LayerSpec) -> dict[str, Any]:
        """Returns the fixed properties, as far as the layer can have them."""
        found = dict(self.fixed)
        if not layer.quantizable_input and "activation_bits" in found:
            found["activation_bits"] = 32
        if not layer.output_sites and "output_bits" in found:
            found["output_bits"] = 32
        return found

    def encode(self, layer: LayerSpec, choice: Choice) -> Action:
        """Returns the middle of the interval that means `choice`, or its indices.

        Raises:
            SpaceError: if the space has no such choice for the layer.
        """
        entries = []
        for axis in self.axes:
            allowed = axis.of(layer)
            value = choice.value(axis.field)
            if axis.field in _free(choice):
                value = allowed[-1]
            if value not in allowed:
                raise SpaceError(
                    f"Layer {layer.name!r} takes {axis.field} of {allowed}, but got {value!r}."
                )
            index, k = allowed.index(value), len(allowed)
            if self.discrete:
                entries.append(float(-(-index * len(axis.values) // k)))
            else:
                entries.append((2 * index + 1) / k - 1)
        free = _free(choice)
        fixed = self._fixed_of(layer)
        if any(choice.value(f) != v for f, v in fixed.items() if f not in free):
            raise SpaceError(f"Every choice of this space has {fixed}, but got {choice}.")
        made = np.array(entries, np.int64 if self.discrete else np.float32)
        return made.reshape(self.action_space.shape or ())


def _free(choice: Choice) -> set[str]:
    """Returns the properties that mean nothing in a choice: no units to order, no integers."""
    found = {"criterion"} if choice.structure.units == 1 else set()
    return found | ({"output_bits"} if choice.activations.bits == 32 else set())


def as_tuple(values: Any) -> tuple[Any, ...]:
    """Returns `values` as a tuple; a single value becomes a tuple of one."""
    return tuple(values) if isinstance(values, (tuple, list)) else (values,)


def sparsity_axis(highest: float, levels: int) -> Axis:
    """Returns `levels` evenly spaced sparsities from `highest` down to 0.

    Raises:
        SpaceError: unless 0 < highest < 1 and levels >= 2.
    """
    check_whole(SpaceError, levels=(levels, 2, MOST_LEVELS))
    if not 0 < highest < 1:
        raise SpaceError(f"`0 < highest < 1` must hold, but got {highest=}; change it.")
    grid = np.linspace(highest, 0.0, levels).round(4).tolist()
    return Axis("sparsity", tuple(grid))


def bits_axes(
    weight_bits: Any, activation_bits: Any, output_bits: Any = "auto"
) -> tuple[list[Axis], dict[str, Any]]:
    """Returns axes for bit-widths with several values, and the fixed ones for the others.

    Outputs have 8 bits by default where the layer's inputs are rounded: fewer cost accuracy in
    sums, and more are no integers to a runtime.
    """
    axes, fixed = [], {}
    if output_bits == "auto":
        output_bits = 32 if set(as_tuple(activation_bits)) == {32} else 8
    widths = {
        "weight_bits": weight_bits, "activation_bits": activation_bits, "output_bits": output_bits
    }  # fmt: skip
    for field, given in widths.items():
        values = tuple(sorted(as_tuple(given)))
        if len(values) > 1:
            axes.append(Axis(field, values))
        else:
            fixed[field] = Axis(field, values).values[0]
    return axes, fixed
