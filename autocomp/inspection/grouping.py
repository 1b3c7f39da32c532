"""Runs sorted into groups that differ in their seeds alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autocomp.core.budget import parse_budgets
from autocomp.errors import RunError
from autocomp.inspection.record import RunRecord
from autocomp.runs.settings import SearchConfig

_ALIKE = frozenset(
    ("seed", "model", "weights", "data", "batch_size", "device", "cache", "threads")
)  # fmt: skip
"""Settings that do not part groups: the fingerprints speak for network and data, and the others
change how long a search takes, not what it finds."""
_BARE = ("agent", "space", "budget")
"""Settings whose value says by itself what it is; they open a label."""


@dataclass(frozen=True)
class RunGroup:
    """Runs of one search, with one seed or several.

    Attributes:
        label: the settings in which it differs from the other groups, in words; the agent where
            there is one group.
        settings: setting -> its value in words, for all settings that part groups.
        records: the runs, by seed.
    """

    label: str
    settings: Mapping[str, str]
    records: tuple[RunRecord, ...]


def group_runs(records: Sequence[RunRecord]) -> tuple[RunGroup, ...]:
    """Returns the groups in the order of their first runs.

    Raises:
        RunError: if there are fewer than two runs, two of them are the same one, or their networks
            or data differ.
        BudgetError: if a run's config.json holds a budget that cannot be read.
    """
    _check(records)
    found: dict[tuple[tuple[str, str], ...], list[RunRecord]] = {}
    for record in records:
        found.setdefault(tuple(_settings(record).items()), []).append(record)
    keys = [dict(key) for key in found]
    names = dict.fromkeys(name for key in keys for name in key)
    parting = [name for name in names if len({key.get(name) for key in keys}) > 1]
    parting.sort(key=lambda name: _BARE.index(name) if name in _BARE else len(_BARE))
    return tuple(
        RunGroup(
            label=", ".join(_words(name, key.get(name, "")) for name in parting or ["agent"]),
            settings=key,
            records=tuple(sorted(members, key=lambda r: seed_of(r))),
        )
        for key, members in zip(keys, found.values(), strict=True)
    )


def seed_of(record: RunRecord) -> int:
    """Returns the seed of a run's search."""
    return int(record.settings.get("seed", 0))


def _settings(record: RunRecord) -> dict[str, str]:
    """Returns the settings that part groups; what an older run does not name has its default."""
    given = {**SearchConfig().to_json(), **record.settings}
    given["budget"] = [str(budget) for budget in parse_budgets(tuple(given["budget"]))]
    return {name: _text(value) for name, value in given.items() if name not in _ALIKE}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _words(name: str, value: str) -> str:
    if name in _BARE:
        return value
    return f"{value} evaluations" if name == "evaluations" else f"{name}={value or 'none'}"


def _check(records: Sequence[RunRecord]) -> None:
    if len(records) < 2:
        raise RunError(
            f"A comparison needs at least 2 runs, but got {len(records)}; name another folder."
        )
    for place, record in enumerate(records):
        for earlier in records[:place]:
            if record.config == earlier.config:
                raise RunError(
                    f"Each run may be named once, but {record.name!r} is the same run as "
                    f"{earlier.name!r}; leave one out."
                )
    first = records[0]
    for what in ("network", "data"):
        for record in records[1:]:
            a, b = (r.config["fingerprints"].get(what) for r in (first, record))
            if a != b:
                raise RunError(
                    f"Runs are compared on one {what}, but {record.name!r} is of "
                    f"{_told(record, what)} and {first.name!r} of {_told(first, what)}"
                    f"{_unlike(record, first, what)}; compare them apart."
                )


def _told(record: RunRecord, what: str) -> str:
    """Returns what a run's network or data are, in its user's words."""
    settings = record.settings
    if what == "data":
        return f"{settings.get('data')!r:.80}"
    weights = settings.get("weights")
    return f"{settings.get('model')!r:.80}" + (f" with {weights!r:.80}" if weights else "")


def _unlike(record: RunRecord, first: RunRecord, what: str) -> str:
    """Returns what differs where the words are the same."""
    if _told(record, what) != _told(first, what):
        return ""
    parts = "weights" if what == "network" else "images or labels"
    return f", with other {parts}"
