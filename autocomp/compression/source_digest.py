"""What identifies the code that makes tables: other mathematics, other tables."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


@cache
def source_digest() -> str:
    """Returns a digest of the code that makes tables: other mathematics, other tables."""
    here = Path(__file__).parent
    files = [
        *here.glob("recovery/*.py"),
        *here.glob("weights/*.py"),
        *here.glob("calibration/*.py"),
    ]
    files += [
        here / "store.py",
        here.parent / "problem/sensitivity.py",
        here.parent / "network/prefix_cache.py",
    ]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
