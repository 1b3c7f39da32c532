"""What the benchmarks' figures are of: the commit, and the trained network and data outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def commit() -> str:
    """Returns the short hash of the commit that is checked out; "" outside a repository."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    ).stdout.strip()  # fmt: skip


def resnet20_on_cifar10() -> tuple[Path, Path]:
    """Returns trained weights and the folder of images; ends the program where they are missing.

    They lie in the folder that AUTOCOMP_SHARED names (default ../shared).
    """
    shared = Path(os.environ.get("AUTOCOMP_SHARED", ROOT.parent / "shared"))
    weights, images = shared / "models" / "resnet20.safetensors", shared / "data" / "cifar10-jpeg"
    if not weights.exists() or not images.exists():
        sys.exit(
            f"{shared} must hold models/resnet20.safetensors and data/cifar10-jpeg; "
            "set AUTOCOMP_SHARED."
        )
    return weights, images
