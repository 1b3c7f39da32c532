"""What is done to each layer: `Choice` for one, `Plan` for the whole network."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from autocomp.errors import ChoiceError, PlanError

BITS = (2, 3, 4, 5, 6, 7, 8, 16, 32)
"""The bit-widths that can be asked for; 32 leaves values in floating point."""

_PATTERN = re.compile(r"(\d+):(\d+)")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is done to one layer; the default does nothing.

    Attributes:
        sparsity: share of the weights set to zero, in [0, 1), kept to four decimals.
        pattern: "N:M" keeps N of every M consecutive weights along the input axis ("" for none);
            excludes `sparsity`.
        weight_bits: bits of a weight, one of `BITS` (32: floating point, unchanged).
        activation_bits: bits of the layer's input values, one of `BITS` (32: unchanged).
        channels: share of the units (channels, heads or neurons) of the group that the layer leads
            which stay, in (0, 1], kept to four decimals; see `LayerSpec.units_kept`.
        criterion: what orders the units, a name of `autocomp criteria`; "" is the least-squares
            order. Excludes `channels=1`.
        rank: share of the layer's full rank that stays, in (0, 1], kept to four decimals; 1 leaves
            the layer in one piece.
    """

    sparsity: float = 0.0
    pattern: str = ""
    weight_bits: int = 32
    activation_bits: int = 32
    channels: float = 1.0
    criterion: str = ""
    rank: float = 1.0

    def __post_init__(self) -> None:
        """Raises ChoiceError for a value outside its range."""
        if not (isinstance(self.sparsity, (int, float)) and math.isfinite(self.sparsity)):
            raise ChoiceError(f"`sparsity` must be a finite number, but got {self.sparsity!r}.")
        if not 0 <= self.sparsity < 1:
            raise ChoiceError(f"`0 <= sparsity < 1` must hold, but got sparsity={self.sparsity}.")
        object.__setattr__(self, "sparsity", min(round(float(self.sparsity), 4), 0.9999))
        for field in ("channels", "rank"):
            share = getattr(self, field)
            number = isinstance(share, (int, float)) and not isinstance(share, bool)
            if not number or not 0 < share <= 1:  # NaN fails, too
                raise ChoiceError(f"`0 < {field} <= 1` must hold, but got {field}={share!r}.")
            object.__setattr__(self, field, max(round(float(share), 4), 0.0001))
        if not isinstance(self.criterion, str):
            raise ChoiceError(f"`criterion` must be a text, but got {self.criterion!r}.")
        if self.channels == 1:  # nothing to order
            object.__setattr__(self, "criterion", "")
        for field in ("weight_bits", "activation_bits"):
            bits = getattr(self, field)
            if bits not in BITS or isinstance(bits, bool):
                raise ChoiceError(f"`{field}` must be one of {BITS}, but got {bits!r}.")
            object.__setattr__(self, field, int(bits))
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

    @property
    def is_neutral(self) -> bool:
        """Whether the layer stays as it is."""
        return self == NEUTRAL

    @property
    def of_weights(self) -> Choice:
        """This choice without its activation bits, which do not change the weights."""
        return Choice(self.sparsity, self.pattern, self.weight_bits)

    @property
    def inside(self) -> Choice:
        """This choice without channels and rank: what is done to the tensors that are left."""
        return Choice(self.sparsity, self.pattern, self.weight_bits, self.activation_bits)

    @property
    def structure(self) -> Choice:
        """Only channels and rank: what tensors are left."""
        return Choice(channels=self.channels, criterion=self.criterion, rank=self.rank)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields that differ from the default."""
        return {k: v for k, v in asdict(self).items() if v != getattr(NEUTRAL, k)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Choice:
        """Builds a choice from `to_json`'s mapping; unknown fields raise ChoiceError."""
        known = {field.name for field in fields(cls)}
        extra = sorted(set(values) - known)
        if extra:
            raise ChoiceError(f"A choice has no field {extra[0]!r}; it has {sorted(known)}.")
        return cls(**values)

    def __str__(self) -> str:
        parts = []
        if self.channels != 1:
            by = f" by {self.criterion}" if self.criterion else ""
            parts.append(f"{self.channels:.0%} channels{by}")
        if self.rank != 1:
            parts.append(f"{self.rank:.0%} rank")
        if self.pattern:
            parts.append(self.pattern)
        if self.sparsity:
            parts.append(f"{self.sparsity:.0%} zero")
        if self.weight_bits != 32:
            parts.append(f"w{self.weight_bits}")
        if self.activation_bits != 32:
            parts.append(f"a{self.activation_bits}")
        return " ".join(parts) or "dense"


NEUTRAL = Choice()


class Plan(Mapping[str, Choice]):
    """One `Choice` for each compressible layer, in forward order; immutable and hashable."""

    __slots__ = ("_choices", "_hash")

    def __init__(self, choices: Mapping[str, Choice]) -> None:
        self._choices = dict(choices)
        self._hash = hash(frozenset(self._choices.items()))

    def __getitem__(self, name: str) -> Choice:
        try:
            return self._choices[name]
        except KeyError:
            raise PlanError(f"The plan has no layer {name!r}; it has {list(self)}.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

    def __contains__(self, name: object) -> bool:
        return name in self._choices

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self._choices == other._choices

    def __repr__(self) -> str:
        return "Plan(" + ", ".join(f"{k}: {v}" for k, v in self._choices.items()) + ")"

    def get(self, name: str, default: Any = None) -> Any:
        """Returns the choice of layer `name`, or `default` without one."""
        return self._choices.get(name, default)

    @property
    def side_bits(self) -> int:
        """Bits in which biases, normalisation parameters and statistics are kept.

        16 as soon as one layer's weights are quantized (then a batch norm's gain and shift take 8,
        see `artifacts/side.py`), else 32 (nothing is rounded).
        """
        return 16 if any(choice.weight_bits < 32 for choice in self.values()) else 32

    def replace(self, name: str, choice: Choice) -> Plan:
        """Returns this plan with another choice for layer `name`."""
        self[name]
        return Plan({**self._choices, name: choice})

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Returns the mapping layer name -> the choice's non-default fields."""
        return {name: choice.to_json() for name, choice in self.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Mapping[str, Any]]) -> Plan:
        """Builds a plan from `to_json`'s mapping.

        Raises:
            PlanError: if it is not a mapping of mappings.
            ChoiceError: if a field is unknown or out of range.
        """
        if not isinstance(values, Mapping) or not all(
            isinstance(v, Mapping) for v in values.values()
        ):
            raise PlanError("A plan must be a JSON object of layer name -> choice object.")
        return cls({name: Choice.from_json(choice) for name, choice in values.items()})

    @property
    def is_structured(self) -> bool:
        """Whether a choice takes channels or rank away, so that tensors get smaller."""
        return any(choice.channels != 1 or choice.rank != 1 for choice in self.values())

    @property
    def structure(self) -> Plan:
        """The plan that only takes channels and rank away."""
        return Plan({name: choice.structure for name, choice in self.items()})

    @property
    def key(self) -> str:
        """A canonical JSON text that identifies the plan."""
        return json.dumps(self.to_json(), separators=(",", ":"), sort_keys=True)
