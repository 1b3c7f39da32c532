"""How long `autocomp.load` takes on a large file.

    python benchmarks/loading.py                 # ResNet-50 at 12 % of its bytes
    python benchmarks/loading.py --size 6% --threads 1

The file is made by a search of one plan with the plainest compressors, on random weights and noise;
it needs torchvision. Reading it does not depend on what made it. Loading is a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from provenance import commit
from scale import from_torchvision

import autocomp


def main() -> None:
    """Makes the file and prints what loading it takes."""
    parser = argparse.ArgumentParser(description="Times autocomp.load.")
    parser.add_argument("--size", default="12%")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    network = from_torchvision("resnet50")().eval()
    if given.file:
        start = time.perf_counter()
        autocomp.load(given.file, model=network)
        print(f"{time.perf_counter() - start:.2f} s")
        return
    print(f"Commit {commit()}, {given.threads} threads, torch {torch.__version__}.", flush=True)
    inputs, labels = torch.randn(3, 8, 3, 64, 64), torch.randint(1000, (3, 8))
    with tempfile.TemporaryDirectory() as folder:
        result = autocomp.search(
            network, list(zip(inputs, labels, strict=True)), f"size={given.size}", agent="uniform",
            evaluations=1, pruner="magnitude", quantizer="symmetric", cache="none", report="none",
            out=Path(folder) / "run", threads=given.threads, progress=False,
        )  # fmt: skip
        size = result.file.stat().st_size
        print(
            f"{sum(p.numel() for p in network.parameters()):,} weights in {size:,} bytes: ", end=""
        )
        command = [sys.executable, "-P", __file__, "--file", str(result.file)]
        command += ["--threads", str(given.threads)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    main()
