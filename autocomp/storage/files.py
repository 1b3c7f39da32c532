"""Writing files so that nothing is ever half-written."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ENDING = ".tmp"


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path` by way of a temporary file beside it: all of it or nothing."""
    with naming(path):
        _write(path, data)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds a file's name to errors of the system that lack it, as that of a full disk does."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_ENDING)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def temporaries(folder: Path, name: str = "*") -> list[Path]:
    """Returns what `write_bytes` has not finished in `folder`: it was killed, or is at work.

    Args:
        folder: where the files are to stand.
        name: pattern of their names.
    """
    return sorted(folder.glob(f".{name}.*{_ENDING}"))


def write_json(path: Path, values: Any) -> None:
    """Writes `values` as readable JSON, as `write_bytes` does."""
    write_bytes(path, (json.dumps(values, indent=2) + "\n").encode())
