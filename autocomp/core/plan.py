"""What is done to the whole network: one `Choice` a layer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from autocomp.core.choice import Choice
from autocomp.errors import PlanError


class Plan(Mapping[str, Choice]):
    """One `Choice` for each compressible layer, in forward order; immutable and hashable."""

    __slots__ = ("_choices", "_hash")

    def __init__(self, choices: Mapping[str, Choice]) -> None:
        if not isinstance(choices, Mapping):
            raise PlanError(
                f"A plan must be a mapping of layers to choices, but got {choices!r:.60}; write "
                "Plan({'conv1': Choice.of(weight_bits=4)})."
            )
        for name, choice in choices.items():
            if not isinstance(choice, Choice):
                raise PlanError(
                    f"Each layer of a plan takes a Choice, but {name!r} has {choice!r:.60}; write "
                    "Choice.of(weight_bits=4)."
                )
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
        return 16 if any(choice.weights.bits < 32 for choice in self.values()) else 32

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
        return any(not choice.of_structure.is_neutral for choice in self.values())

    @property
    def structure(self) -> Plan:
        """The plan that only takes channels and rank away."""
        return Plan({name: choice.of_structure for name, choice in self.items()})

    @property
    def key(self) -> str:
        """A canonical JSON text that identifies the plan."""
        return json.dumps(self.to_json(), separators=(",", ":"), sort_keys=True)
