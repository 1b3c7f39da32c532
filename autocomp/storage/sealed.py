"""JSON files of a cache, with a checksum: what a disk or a hand has changed is not believed."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

from autocomp.storage.files import write_bytes
from autocomp.storage.json_files import read_json


class Damaged(Exception):
    """A file of a cache that holds other bytes than were written into it."""


def write_sealed(path: Path, values: Any) -> None:
    """Writes values as JSON with their checksum, all or nothing; OSError where that fails."""
    text = json.dumps(values, sort_keys=True)
    write_bytes(path, json.dumps({"sha256": seal(text.encode()), "values": values}).encode())


def read_sealed(path: Path) -> Any:
    """Returns what `write_sealed` wrote.

    Raises:
        OSError: if there is no such file, or it cannot be read.
        Damaged: if it holds anything else.
    """
    try:
        found = read_json(path)
        text = json.dumps(found["values"], sort_keys=True)
    except (ValueError, TypeError, KeyError) as error:
        raise Damaged(str(path)) from error
    if found.get("sha256") != seal(text.encode()):
        raise Damaged(str(path))
    return found["values"]


def seal(*parts: bytes | memoryview) -> str:
    """Returns 32 hexadecimal digits of a digest over the parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:32]


def tell_damaged(path: Path) -> None:
    """Warns that a file of a cache is damaged and made anew."""
    warnings.warn(
        f"{str(path)!r} in the cache is damaged, and what it held is made anew.",
        RuntimeWarning,
        stacklevel=3,
    )
