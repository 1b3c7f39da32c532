"""What is done to one layer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from autocomp.errors import ChoiceError, unknown

BITS = (2, 3, 4, 5, 6, 7, 8, 16, 32)
"""The bit-widths of activations; 32 leaves values in floating point."""
WEIGHT_BITS = (1, *BITS)
"""The bit-widths of weights. With one bit a weight is -s or s, with two -s, 0 or s."""

_PATTERN = re.compile(r"(\d+):(\d+)")


def _named(default: Any, flat: str) -> Any:
    """Returns a field with its name in JSON and in spaces, where that is not its own."""
    return field(default=default, metadata={"flat": flat})


@dataclass(frozen=True, slots=True)
class Weights:
    """What is done to a layer's weights.

    Attributes:
        sparsity: share of the weights set to zero, in [0, 1), kept to four decimals.
        pattern: "N:M" keeps N of every M consecutive weights along the input axis ("" for none);
            excludes `sparsity`.
        bits: bits of a weight, one of `WEIGHT_BITS` (1: its sign alone; 32: floating point,
            unchanged); flat `weight_bits`.
    """

    sparsity: float = 0.0
    pattern: str = ""
    bits: int = _named(32, "weight_bits")

    def __post_init__(self) -> None:
        """Raises ChoiceError for a value outside its range."""
        if not (isinstance(self.sparsity, (int, float)) and math.isfinite(self.sparsity)):
            raise ChoiceError(f"`sparsity` must be a finite number, but got {self.sparsity!r}.")
        if not 0 <= self.sparsity < 1:
            raise ChoiceError(f"`0 <= sparsity < 1` must hold, but got sparsity={self.sparsity}.")
        object.__setattr__(self, "sparsity", min(round(float(self.sparsity), 4), 0.9999))
        object.__setattr__(self, "bits", _bits("weight_bits", self.bits, WEIGHT_BITS))
        if self.pattern != "":
            n, m = self.n_of_m
            object.__setattr__(self, "pattern", f"{n}:{m}")
            if self.sparsity:
                raise ChoiceError(
                    f"A choice takes `sparsity` or `pattern`, but got sparsity={self.sparsity} "
                    f"and pattern={self.pattern!r}; set one of them to its default."
                )

    @property
    def n_of_m(self) -> tuple[int, int]:
        """The pattern's two numbers; (1, 1) without a pattern."""
        if self.pattern == "":
            return (1, 1)
        match = _PATTERN.fullmatch(self.pattern) if isinstance(self.pattern, str) else None
        n, m = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= n < m <= 255:
            raise ChoiceError(
                f"`pattern` must read 'N:M' with 1 <= N < M <= 255, but got {self.pattern!r}."
            )
        return n, m

    def words(self) -> list[str]:
        """Returns what is done, in words."""
        zero = [f"{self.sparsity:.0%} zero"] if self.sparsity else []
        bits = [f"w{self.bits}"] if self.bits != 32 else []
        return [*([self.pattern] if self.pattern else []), *zero, *bits]


@dataclass(frozen=True, slots=True)
class Activations:
    """What is done to a layer's inputs and outputs.

    Attributes:
        bits: bits of an input value, one of `BITS` (32: unchanged); flat `activation_bits`.
        output_bits: bits of an output value, likewise, where no next layer's inputs are these
            outputs (`LayerSpec.output_sites`), and of the sum that it goes into: with them a
            residual path is whole numbers from end to end. A layer without such outputs stays as it
            is, and so does one whose inputs are not rounded (`bits=32`).
    """

    bits: int = _named(32, "activation_bits")
    output_bits: int = 32

    def __post_init__(self) -> None:
        """Raises ChoiceError for a value outside its range."""
        for name, flat in (("bits", "activation_bits"), ("output_bits", "output_bits")):
            object.__setattr__(self, name, _bits(flat, getattr(self, name), BITS))
        if self.bits == 32:  # a layer that computes with floats gives floats
            object.__setattr__(self, "output_bits", 32)

    def words(self) -> list[str]:
        """Returns what is done, in words."""
        inputs = [f"a{self.bits}"] if self.bits != 32 else []
        return [*inputs, *([f"o{self.output_bits}"] if self.output_bits != 32 else [])]


@dataclass(frozen=True, slots=True)
class Structure:
    """Which tensors are left.

    Attributes:
        units: share of the units (channels, heads or neurons) of the group that the layer leads
            which stay, in (0, 1], kept to four decimals; see `LayerSpec.units_kept`. Flat
            `channels`.
        criterion: what orders the units, a name of `autocomp criteria`; "" is the least-squares
            order. Excludes `units=1`.
        rank: share of the layer's full rank that stays, in (0, 1], kept to four decimals; 1 leaves
            the layer in one piece.
    """

    units: float = _named(1.0, "channels")
    criterion: str = ""
    rank: float = 1.0

    def __post_init__(self) -> None:
        """Raises ChoiceError for a value outside its range."""
        for name, flat in (("units", "channels"), ("rank", "rank")):
            share = getattr(self, name)
            number = isinstance(share, (int, float)) and not isinstance(share, bool)
            if not number or not 0 < share <= 1:  # NaN fails, too
                raise ChoiceError(f"`0 < {flat} <= 1` must hold, but got {flat}={share!r}.")
            object.__setattr__(self, name, max(round(float(share), 4), 0.0001))
        if not isinstance(self.criterion, str):
            raise ChoiceError(f"`criterion` must be a text, but got {self.criterion!r}.")
        if self.units == 1:  # nothing to order
            object.__setattr__(self, "criterion", "")

    def words(self) -> list[str]:
        """Returns what is done, in words."""
        by = f" by {self.criterion}" if self.criterion else ""
        units = [f"{self.units:.0%} channels{by}"] if self.units != 1 else []
        return [*units, *([f"{self.rank:.0%} rank"] if self.rank != 1 else [])]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is done to one layer; the default does nothing.

    Each part is a type of its own, so that a new technique adds a type or a field of one. In JSON,
    in spaces and in `Choice.of` all fields stand side by side under their flat names.

    Attributes:
        structure: which tensors are left.
        weights: what is done to the weights in them.
        activations: what is done to the layer's inputs and outputs.

    >>> choice = Choice.of(sparsity=0.5, weight_bits=4)
    >>> choice.weights.bits, choice.structure.rank, str(choice)
    (4, 1.0, '50% zero w4')
    >>> choice.to_json()
    {'sparsity': 0.5, 'weight_bits': 4}
    """

    structure: Structure = field(default_factory=Structure)
    weights: Weights = field(default_factory=Weights)
    activations: Activations = field(default_factory=Activations)

    def __post_init__(self) -> None:
        """Raises ChoiceError for a part of another type."""
        for name, kind in _PARTS.items():
            part = getattr(self, name)
            if not isinstance(part, kind):
                raise ChoiceError(
                    f"`{name}` must be a {kind.__name__}, but got {part!r}; flat values go to "
                    "Choice.of(sparsity=0.5, weight_bits=4)."
                )

    @classmethod
    def of(cls, **flat: Any) -> Choice:
        """Builds a choice from flat names, as `Choice.of(sparsity=0.5, weight_bits=4)`.

        Raises:
            ChoiceError: if a name is unknown or a value out of range.
        """
        return NEUTRAL.replace(**flat)

    def replace(self, **flat: Any) -> Choice:
        """Returns this choice with other values for some flat names; ChoiceError as `of`."""
        known = flat_fields()
        given: dict[str, dict[str, Any]] = {}
        for name, value in flat.items():
            if name not in known:
                raise ChoiceError(unknown("field of a choice", name, known))
            part, own = known[name]
            given.setdefault(part, {})[own] = value
        parts = {}
        for part, kind in _PARTS.items():
            before = getattr(self, part)
            values = {f.name: getattr(before, f.name) for f in fields(kind)}
            parts[part] = kind(**{**values, **given[part]}) if part in given else before
        return Choice(**parts)

    def value(self, name: str) -> Any:
        """Returns the value under a flat name; ChoiceError for an unknown one."""
        known = flat_fields()
        if name not in known:
            raise ChoiceError(unknown("field of a choice", name, known))
        part, own = known[name]
        return getattr(getattr(self, part), own)

    @property
    def is_neutral(self) -> bool:
        """Whether the layer stays as it is."""
        return self == NEUTRAL

    @property
    def of_weights(self) -> Choice:
        """Only what is done to the weights: what a table of compressed weights depends on."""
        return Choice(weights=self.weights)

    @property
    def of_structure(self) -> Choice:
        """Only the structure: what tensors are left."""
        return Choice(structure=self.structure)

    @property
    def inside(self) -> Choice:
        """This choice without its structure: what is done to the tensors that are left."""
        return Choice(weights=self.weights, activations=self.activations)

    def to_json(self) -> dict[str, Any]:
        """Returns the flat names whose values differ from the default."""
        return {
            name: value
            for name in flat_fields()
            if (value := self.value(name)) != NEUTRAL.value(name)
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Choice:
        """Builds a choice from `to_json`'s mapping; unknown names raise ChoiceError."""
        return cls.of(**values)

    def __str__(self) -> str:
        words = [*self.structure.words(), *self.weights.words(), *self.activations.words()]
        return " ".join(words) or "dense"


_PARTS: dict[str, Any] = {"weights": Weights, "activations": Activations, "structure": Structure}
"""The parts of a choice, in the order in which their fields stand in JSON."""


@cache
def flat_fields() -> dict[str, tuple[str, str]]:
    """Returns flat name -> (part of a choice, its field), in the order of JSON."""
    return {
        f.metadata.get("flat", f.name): (part, f.name)
        for part, kind in _PARTS.items()
        for f in fields(kind)
    }


def _bits(name: str, bits: Any, known: tuple[int, ...]) -> int:
    if bits not in known or isinstance(bits, bool):
        raise ChoiceError(f"`{name}` must be one of {known}, but got {bits!r}.")
    return int(bits)


NEUTRAL = Choice()
