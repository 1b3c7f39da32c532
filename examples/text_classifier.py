"""An LSTM that tells by which package of Python's library a line was written, made smaller.

Trained on the spot on lines of source; judged by its accuracy on files that neither training nor
search has seen; beside rounding to nearest and torch's dynamic int8.

    python examples/text_classifier.py --budgets 25% 12% 6%
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from alternatives import bytes_of, rounded, table, torch_dynamic
from torch import Tensor, nn

import autocomp

PACKAGES = ("asyncio", "email", "tkinter", "unittest", "xml", "importlib")
LENGTH = 48
"""Letters of a line."""


class Classifier(nn.Module):
    """Letters `(n, LENGTH)` to a logit for each package."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.table = nn.Embedding(128, 32)
        self.body = nn.LSTM(32, width, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, len(PACKAGES))

    def forward(self, letters: Tensor) -> Tensor:
        """Returns logits, from the mean of the states."""
        states, _ = self.body(self.table(letters))
        return self.head(states.mean(1))  # type: ignore[no-any-return]


def lines() -> list[tuple[Tensor, Tensor]]:
    """Returns training, calibration, search and test lines, each of files of their own."""
    root = Path(sysconfig.get_path("stdlib"))
    found: list[tuple[list[list[int]], list[int]]] = [([], []) for _ in range(4)]
    for label, package in enumerate(PACKAGES):
        for place, file in enumerate(sorted((root / package).rglob("*.py"))):
            letters, labels = found[max(0, place % 8 - 4)]
            for line in file.read_text(encoding="utf-8", errors="ignore").splitlines():
                text = line.strip()
                if len(text) >= 24:
                    codes = [min(ord(letter), 127) for letter in text[:LENGTH]]
                    letters.append(codes + [0] * (LENGTH - len(codes)))
                    labels.append(label)
    return [(torch.tensor(letters), torch.tensor(labels)) for letters, labels in found]


def train(model: nn.Module, letters: Tensor, labels: Tensor, steps: int, batch: int = 64) -> None:
    """Trains a classifier with AdamW and one cycle."""
    generator = torch.Generator().manual_seed(0)
    weight = 1 / torch.bincount(labels, minlength=len(PACKAGES)).float()
    chances = weight[labels]
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    model.train()
    for _ in range(steps):
        some = torch.multinomial(chances, batch, generator=generator)
        loss = F.cross_entropy(model(letters[some]), labels[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def accuracy(model: nn.Module, letters: Tensor, labels: Tensor) -> float:
    """Returns the share of right answers."""
    with torch.inference_mode():
        found = torch.cat([model(some).argmax(1) for some in letters.split(256)])
    return float((found == labels).double().mean())


def main(given: Sequence[str] | None = None) -> list[tuple[str, float, float]]:
    """Prints the table and returns its rows: name, share of bytes, accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budgets", nargs="+", default=["25%", "12%", "6%"])
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 4, 3])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--samples", type=int, default=2000, help="of search and test")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    training, *data = lines()
    model = Classifier(options.width)
    train(model, *training, options.steps)
    generator = torch.Generator().manual_seed(1)
    for place, most in enumerate((512, options.samples, options.samples)):
        letters, labels = data[place]
        some = torch.randperm(len(letters), generator=generator)[:most]
        data[place] = letters[some], labels[some]
    size = 4 * sum(p.numel() for p in model.parameters())
    rows = [("dense", 1.0, accuracy(model, *data[2]))]
    alternatives = [rounded(model, bits) for bits in options.bits]
    dynamic = torch_dynamic(model)
    for made in alternatives + ([] if dynamic is None else [dynamic]):
        rows.append((made.name, made.bytes / size, accuracy(made.run, *data[2])))  # type: ignore[arg-type]
    for budget in options.budgets:
        found = autocomp.search(
            model, data, bytes_of(budget, size), agent="dp", evaluations=1, report="none",
            progress=False, threads=options.threads,
        )  # fmt: skip
        share = found.file.stat().st_size / size
        rows.append(("AutoComp", share, accuracy(found.model, *data[2])))
    rows.sort(key=lambda row: -row[1])
    print(
        table(("network", "bytes", "accuracy"), [(n, f"{b:.2%}", f"{a:.2%}") for n, b, a in rows])
    )
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
