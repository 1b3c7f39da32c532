"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def default_root() -> Path:
    """Returns the user's cache folder for this program (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "autocomp"
