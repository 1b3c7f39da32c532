"""Reading JSON files, which anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LARGEST = 1 << 28
"""Bytes of a JSON file that is read."""


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it holds no JSON, is nested too deep, or longer than 256 MiB.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError(f"longer than {LARGEST} bytes")
    return parse_json(path.read_bytes())


def parse_json(text: str | bytes) -> Any:
    """Returns what a JSON text means; ValueError if it is none, or nested too deep."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
