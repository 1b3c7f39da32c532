"""Reading JSON files, which anybody may have written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autocomp.storage.reading import read_whole

LARGEST = 1 << 28
"""Bytes of a JSON file that is read."""
DEEPEST = 64
"""Levels of lists and objects in one; what reads them may call itself a level each."""


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
        OSError: if it cannot be read, is no regular file, or longer than 256 MiB.
        ValueError: if it holds no JSON, or is nested too deep.
    """
    return parse_json(read_whole(path, LARGEST))


def parse_json(text: str | bytes) -> Any:
    """Returns what a JSON text means; ValueError if it is none, or nested too deep."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not is_flat(found, DEEPEST):
        raise ValueError("nested too deep")
    return found


def is_flat(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested no deeper than so many levels, by no call of itself."""
    level = [value]
    for _ in range(levels):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return True
    return False


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
