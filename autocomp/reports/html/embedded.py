"""Values as JSON inside a page: short, and with each long list written once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

_LONG = 8
"""Flat lists of at least this many items go to the pool."""


def embedded_json(value: Any) -> str:
    """Returns `{"pool": [...], "value": ...}` as JSON that may stand inside a <script>.

    Dataclasses become objects with their lower-case class name as "kind", numbers keep five
    significant digits, and what is not finite becomes null. A flat list of eight items or more
    stands in the pool, once however often it occurs; `{"$": place}` stands for it. There is no "<".
    """
    pool: dict[str, int] = {}
    bare = _bare(value, pool)
    text = f'{{"pool":[{",".join(pool)}],"value":{_text(bare)}}}'
    return text.replace("<", "\\u003c")


def _bare(value: Any, pool: dict[str, int]) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if is_dataclass(value):
        kept = {f.name: getattr(value, f.name) for f in fields(value)}
        return _bare({"kind": type(value).__name__.lower(), **kept}, pool)
    if isinstance(value, Mapping):
        return {str(key): _bare(item, pool) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = [_bare(item, pool) for item in value]
        if len(items) < _LONG or any(isinstance(item, list | dict) for item in items):
            return items
        return {"$": pool.setdefault(_text(items), len(pool))}
    return value


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
