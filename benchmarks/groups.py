"""How long it takes to find what can be pruned: the groups of a network's channels.

    python benchmarks/groups.py
    python benchmarks/groups.py --networks resnet50 --threads 1

Weights are random; torchvision's and timm's networks need an environment that has them.
"""

from __future__ import annotations

import argparse
import time

import torch
from provenance import commit
from scale import from_timm, from_torchvision

from autocomp.compression.structure.find import find_groups
from autocomp.compression.structure.heads import with_heads
from autocomp.network.analysis import analyse

NETWORKS = {
    "resnet50": from_torchvision("resnet50"),
    "densenet121": from_torchvision("densenet121"),
    "vit_small": from_timm("vit_small_patch16_224"),
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Times finding the groups of channels.")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"Commit {commit()}, {given.threads} threads, torch {torch.__version__}.\n")
    print("| network | groups | units | skipped | s |\n|---|---|---|---|---|")
    for name in given.networks.split(","):
        torch.manual_seed(0)
        model = NETWORKS[name]().eval()
        example = torch.randn(2, 3, 224, 224)
        network = analyse(model, example)
        with_heads(model, example)
        start = time.perf_counter()
        found = find_groups(model, network, example)
        seconds = time.perf_counter() - start
        units = sum(group.units for group in found.groups)
        print(
            f"| {name} | {len(found.groups)} | {units} | {len(found.skipped)} | {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
