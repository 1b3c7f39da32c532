"""A U-Net that finds disks and squares in noise, made smaller.

Trained on the spot; judged by the mean intersection over union on other pictures; beside rounding
to nearest at the same bytes.

    python examples/shape_segmentation.py --budgets 25% 12% 6%
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from alternatives import bytes_of, rounded, table
from torch import Tensor, nn

import autocomp
from autocomp.tasks import Segmentation

SIDE, CLASSES = 32, 3


class UNet(nn.Module):
    """Pictures `(n, 1, SIDE, SIDE)` to a logit for each class and pixel, as a mapping."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first, self.second = _block(1, width), _block(width, 2 * width)
        self.deepest = _block(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.up_second = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.up_first = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.back_second, self.back_first = _block(4 * width, 2 * width), _block(2 * width, width)
        self.head = nn.Conv2d(width, CLASSES, 1)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Returns {"out": logits}, as torchvision's networks do."""
        first = self.first(pictures)
        second = self.second(self.pool(first))
        x = self.up_second(self.deepest(self.pool(second)))
        x = self.up_first(self.back_second(torch.cat([x, second], 1)))
        return {"out": self.head(self.back_first(torch.cat([x, first], 1)))}


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


def pictures(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns pictures of a disk (1) and a square (2) in strong noise, and each pixel's class."""
    generator = torch.Generator().manual_seed(seed)
    centres = 6 + (SIDE - 12) * torch.rand((n, 2, 2), generator=generator)
    sizes = 3 + 5 * torch.rand((n, 2), generator=generator)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    away = [
        torch.stack([y - centres[:, i, 0, None, None], x - centres[:, i, 1, None, None]]).abs()
        for i in range(2)
    ]
    disk = away[0].square().sum(0) <= sizes[:, 0, None, None].square()
    square = away[1].amax(0) <= 0.8 * sizes[:, 1, None, None]
    labels = torch.where(square, 2, torch.where(disk, 1, 0))
    bright = torch.tensor([0.0, 1.0, 1.3])[labels]
    noise = 0.7 * torch.randn((n, SIDE, SIDE), generator=generator)
    return (bright + noise)[:, None], labels


def train(model: nn.Module, images: Tensor, labels: Tensor, steps: int, batch: int = 32) -> None:
    """Trains a segmentation with AdamW and one cycle."""
    task, generator = Segmentation(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    model.train()
    for _ in range(steps):
        some = torch.randint(len(images), (batch,), generator=generator)
        loss = task.loss(model(images[some])["out"], labels[some]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def mean_iou(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Returns the mean intersection over union."""
    with torch.inference_mode():
        logits = torch.cat([model(some)["out"] for some in images.split(64)])
    measure = Segmentation().measure
    return measure.value(measure.rows(logits, labels, logits))


def main(given: Sequence[str] | None = None) -> list[tuple[str, float, float]]:
    """Prints the table and returns its rows: name, share of bytes, mean IoU."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budgets", nargs="+", default=["25%", "12%", "6%"])
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 4, 3])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--samples", type=int, default=400, help="of each split")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    data = [pictures(options.samples, seed) for seed in range(3)]
    model = UNet(options.width)
    train(model, *pictures(2000, 3), options.steps)
    size = 4 * sum(x.numel() for x in model.state_dict().values() if x.is_floating_point())
    rows = [("dense", 1.0, mean_iou(model, *data[2]))]
    for made in (rounded(model, bits) for bits in options.bits):
        rows.append((made.name, made.bytes / size, mean_iou(made.run, *data[2])))  # type: ignore[arg-type]
    for budget in options.budgets:
        found = autocomp.search(
            model, data, bytes_of(budget, size), task="segmentation", agent="dp", evaluations=1,
            report="none", progress=False, threads=options.threads,
        )  # fmt: skip
        share = found.file.stat().st_size / size
        rows.append(("AutoComp", share, mean_iou(found.model, *data[2])))
    rows.sort(key=lambda row: -row[1])
    print(
        table(("network", "bytes", "mean IoU"), [(n, f"{b:.2%}", f"{v:.2%}") for n, b, v in rows])
    )
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
