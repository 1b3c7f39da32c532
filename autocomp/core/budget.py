"""Budgets: a cost's name and its limit, as a ratio of the dense network or in the cost's unit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, DecimalException
from numbers import Integral, Real
from typing import Any

from autocomp.errors import BudgetError

_TEXT = re.compile(r"\s*([\w.-]+)\s*=\s*([^\s%a-zA-Z]*(?:[eE][+-]?\d+)?)\s*(%|[a-zA-Z]*)\s*")
_DIGITS = 100
"""Largest power of ten of a limit; floating-point numbers end at 308."""
_PREFIX = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS = {
    **{f"{p}B": f for p, f in _PREFIX.items()},
    **{f"{p}{u}": f for p, f in _PREFIX.items() if p for u in ("", "MACs", "Ops", "BitOps")},
    "KB": 10**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "bytes": 1,
    "params": 1,
    "MACs": 1,
    "BitOps": 1,
    "": 1,
}
_TIMES = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_ENERGIES = {"pJ": 1, "nJ": 10**3, "uJ": 10**6, "mJ": 10**9, "J": 10**12}
_OWN = {"latency": _TIMES, "energy": _ENERGIES}
"""Units that measure one cost alone."""
_BYTES = ("size", "weight_memory")
_MEASURES = {
    "B": _BYTES, "bytes": _BYTES, "MACs": ("macs",), "BitOps": ("bitops",), "params": ("params",)
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on one cost.

    Attributes:
        cost: the cost's registered name; or what makes the cost of a network, `store -> Cost`, or a
            cost itself, which is then kept as `factory` under its class's name.
        limit: share of the dense network's cost in (0, 1] if `ratio`, else a number in the cost's
            unit, above 0.
        ratio: which of the two; a limit below 1 is a share unless told otherwise.
        factory: what makes a cost that has no registered name.

    >>> str(Budget("size", 0.08)), str(Budget("macs", 2e7))
    ('size=8%', 'macs=20000000')
    """

    cost: str
    limit: float
    ratio: bool | None = None
    factory: Callable[[Any], Any] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Raises BudgetError for a limit out of range, or a cost that is none."""
        if not isinstance(self.cost, str):
            object.__setattr__(self, "factory", _factory(self.cost))
            object.__setattr__(self, "cost", _name(self.cost))
        number = isinstance(self.limit, Real) and not isinstance(self.limit, bool)
        if number:  # of numpy, too
            object.__setattr__(self, "limit", _plain(self.limit))
        else:
            raise BudgetError(
                f"A budget's limit must be a number, but got {self.cost}={self.limit!r:.60}; "
                "texts with units go to Budget.parse."
            )
        if self.ratio is None:
            object.__setattr__(self, "ratio", self.limit < 1)
        if not 0 < self.limit < 10**_DIGITS:
            small = abs(self.limit) < 10**_DIGITS
            shown = f"{self.limit:.6g}" if small else f"{self.limit!r:.20}"
            raise BudgetError(
                f"A budget must be above 0 and finite, but got {self.cost}={shown}; change it."
            )
        if self.ratio and self.limit > 1:
            raise BudgetError(
                f"A ratio budget must be at most 100 %, but got {self.cost}={self.limit:.4g} "
                f"({self.limit:.0%}); lower it."
            )

    def absolute(self, reference: int) -> int:
        """Returns the limit as a whole number in the cost's unit, rounded down."""
        return math.floor(self.limit * reference + 1e-9) if self.ratio else math.floor(self.limit)

    def __str__(self) -> str:
        # every digit: a run is resumed with the budget that this text reads back as
        exact = Decimal(repr(float(self.limit))) * (100 if self.ratio else 1)
        return f"{self.cost}={exact.normalize():f}{'%' if self.ratio else ''}"

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads `size=8%`, `size=60kB`, `macs=20M`, `latency=2ms`, `size=0.08` (a ratio below 1).

        Units: %; B, kB, MB, GB, KiB, MiB, GiB for bytes; ns, us, ms, s for latency; pJ, nJ, uJ, mJ,
        J for energy; k, M, G, T and the cost's own unit for counts. A bare number below 1 is a
        ratio; of 1 or more it is in the cost's unit. 1e6 reads as a number too.

        Raises:
            BudgetError: if the text does not read so, or the limit is out of range.
        """
        match = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise BudgetError(
                f"A budget must read COST=LIMIT, as size=8% or size=60kB; got {text!r:.60}."
            )
        name, number, unit = match.groups()
        try:
            value = Decimal(number)  # in binary 8.29 * 1000 falls short of 8290
        except DecimalException:
            raise BudgetError(
                f"A budget's limit must be a number with a unit, as 8% or 60kB; got {text!r}."
            ) from None
        if not value.is_finite() or abs(value.adjusted()) > _DIGITS:
            raise BudgetError(
                f"A budget must be above 0 and finite, but got {text!r:.60}; change it."
            )
        if unit == "%":
            return cls(name, float(value / 100), True)
        for cost, units in _OWN.items():
            if unit not in units:
                continue
            if name != cost:
                raise BudgetError(
                    f"The unit {unit} measures {cost} alone, but got {text!r}; use k, M, G or %."
                )
            return cls(name, float(value * units[unit]), False)
        if unit not in _UNITS:
            raise BudgetError(
                f"A budget's unit must be %, B, kB, MB, KiB, MiB, k, M or G; got {unit!r} in "
                f"{text!r}."
            )
        for ending, costs in _MEASURES.items():
            if unit.endswith(ending) and name not in costs:
                raise BudgetError(
                    f"The unit {unit} measures {' and '.join(costs)} alone, but got {text!r}; use "
                    "k, M, G or %."
                )
        if not unit and value < 1:
            return cls(name, float(value), True)
        return cls(name, float(value * _UNITS[unit]), False)


Budgets = str | Budget | Mapping[str, str | float] | Iterable[str | Budget]
"""What names budgets: "size=8%", a Budget, {"size": "8%", "macs": 0.5}, or several."""


def parse_budgets(budgets: Budgets) -> tuple[Budget, ...]:
    """Reads one or several budgets ("size=8%,macs=50%" and {"size": "8%", "macs": 0.5} too).

    Raises:
        BudgetError: if one cannot be read, none is given, or a cost is named twice.
    """
    given: Iterable[Any]
    if isinstance(budgets, str):
        given = [part for part in budgets.split(",") if part.strip()]
    elif isinstance(budgets, Budget):
        given = [budgets]
    elif isinstance(budgets, Mapping):
        given = [
            Budget.parse(f"{name}={limit}") if isinstance(limit, str) else Budget(name, limit)
            for name, limit in budgets.items()
        ]
    elif isinstance(budgets, Iterable):
        given = budgets
    else:
        raise BudgetError(
            "A budget must name its cost, as 'size=8%' or {'size': 0.08}, but got "
            f"{budgets!r:.60}."
        )
    read = tuple(b if isinstance(b, Budget) else Budget.parse(b) for b in given)
    if not read:
        raise BudgetError("A search needs at least one budget, as size=8%.")
    names = [budget.cost for budget in read]
    for name in names:
        if names.count(name) > 1:
            raise BudgetError(f"Each cost takes one budget, but {name!r} has several.")
    return read


def _plain(number: Any) -> float:
    """Returns an int or a float of Python."""
    return int(number) if isinstance(number, Integral) else float(number)


def _factory(cost: Any) -> Callable[[Any], Any]:
    """Returns what makes the cost of a network from its store."""
    if callable(cost):
        made: Callable[[Any], Any] = cost
        return made
    if callable(getattr(cost, "of_layer", None)):
        return lambda store: cost
    raise BudgetError(
        f"A budget's cost must be a name, a Cost or what makes one, but got {cost!r:.60}; write "
        "Budget('size', 0.08)."
    )


def _name(cost: Any) -> str:
    """Returns a name for a cost without one: that of its class or function."""
    kind = cost if callable(cost) else type(cost)
    text = str(getattr(kind, "__name__", type(kind).__name__))
    return re.sub(r"[^\w.-]", "", text).lower() or "cost"
