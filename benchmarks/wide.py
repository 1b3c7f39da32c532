"""A wide layer: whole moments against blocks of them, and how much to damp those of few inputs.

    python benchmarks/wide.py              # 4,608 inputs an output, 64 of its outputs

The inputs are a real network's features: ResNet-20's last stage on CIFAR-10, widened to 512
channels by a fixed random convolution and a ReLU, unfolded to 3 x 3 neighbourhoods. Errors are the
mean squared error of the outputs, relative to their energy, on 128 images that calibration did not
see. Weights and data come from AUTOCOMP_SHARED (default ../shared).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from provenance import commit, resnet20_on_cifar10
from torch import Tensor

import autocomp.compression.recovery.gram as gram_module
from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.recovery.gram import GramSum
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.weights import GPTQQuantizer, OBSPruner
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.data import load_data
from autocomp.models import build_model

ROWS, CHANNELS = 64, 512
WIDTH = 9 * CHANNELS
HELD = 128
COLUMNS = ("3 bits", "50 % zeros", "80 % zeros")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Measures the recovery of a wide layer.")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    weights, images = resnet20_on_cifar10()
    print(f"Commit {commit()}, {given.threads} threads, torch {torch.__version__}.\n")
    print("| calibration images | moments | damping | " + " | ".join(COLUMNS) + " | s |")
    print("|" + "---|" * (4 + len(COLUMNS)))
    columns = features(weights, images)
    held = columns[-HELD:].reshape(-1, WIDTH)
    held = held - held.mean(0)
    moment = held.T @ held / len(held)
    weight = weights_of_a_layer()
    for n in (96, 384):
        for limit, damping in ((1024, None), (WIDTH, 1e-3), (WIDTH, None), (WIDTH, 0.1)):
            start = time.perf_counter()
            found = errors(columns[:n], weight, moment, limit, damping)
            told = "by inputs a column" if damping is None else f"{damping:g}"
            kind = "whole" if limit == WIDTH else f"blocks of {limit:,}"
            print(f"| {n} | {kind} | {told} | " + " | ".join(f"{e:.5f}" for e in found)
                  + f" | {time.perf_counter() - start:.0f} |", flush=True)  # fmt: skip


def features(weights: Path, images: Path) -> Tensor:
    """Returns `(images, positions, inputs)`."""
    network = build_model("resnet20", weights, require_weights=True).eval()
    seen: list[Tensor] = []
    network.layer3.register_forward_hook(  # type: ignore[union-attr, operator]
        lambda module, inputs, output: seen.append(output)
    )
    data = load_data(f"cifar10:{images}").calibration
    with torch.no_grad():
        for start in range(0, 512, 128):
            network(data.batch(slice(start, start + 128))[0])
    found = torch.cat(seen)
    generator = torch.Generator().manual_seed(1)
    scale = torch.logspace(0, -1, CHANNELS)[:, None, None, None] / 24
    mixing = torch.randn(CHANNELS, found.shape[1], 3, 3, generator=generator) * scale
    wide = F.relu(F.conv2d(found, mixing, padding=1))
    wide += 0.02 * torch.randn(wide.shape, generator=generator).abs()
    return F.unfold(wide, 3, padding=1).transpose(1, 2)


def weights_of_a_layer() -> Tensor:
    """Returns weights of which many are near zero, and whose rows differ in size."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(ROWS, WIDTH, generator=generator) * torch.rand(
        ROWS, 1, generator=generator
    )
    return weight * torch.rand(ROWS, WIDTH, generator=generator) ** 1.5


def errors(
    columns: Tensor, weight: Tensor, moment: Tensor, limit: int, damping: float | None
) -> list[float]:
    """Returns the errors on images that were not seen."""
    layer = LayerSpec(
        "wide", "wide.weight", "linear", (ROWS, WIDTH), 0, 1, 1, 1, ROWS * WIDTH, 1, True, True
    )
    total = GramSum(Layout.of(layer, limit))
    total.add(columns.reshape(1, -1, WIDTH))
    gram = total.result()
    assert gram is not None
    before = gram_module.DAMPING, gram_module.SPARSE_DAMPING
    if damping is not None:
        gram_module.DAMPING, gram_module.SPARSE_DAMPING = damping, 0.0
    try:
        stats = LayerStatistics(layer, gram=gram.centre())
        rounded = GPTQQuantizer().quantize(weight, Choice.of(weight_bits=3), stats)
        made = [rounded.dequantize(torch.float32)]
        made += [OBSPruner().compress(weight, Choice.of(sparsity=s), stats) for s in (0.5, 0.8)]
    finally:
        gram_module.DAMPING, gram_module.SPARSE_DAMPING = before
    energy = float(((weight @ moment) * weight).sum())
    return [float((((w - weight) @ moment) * (w - weight)).sum()) / energy for w in made]


if __name__ == "__main__":
    main()
