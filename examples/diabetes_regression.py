"""A small network that foretells the course of a disease, made smaller.

Scikit-learn's diabetes data: ten numbers of a patient, and the disease a year later. Judged by R2
on patients that neither training nor search has seen; beside rounding to nearest and torch's
dynamic int8.

    python examples/diabetes_regression.py --budgets 25% 12% 8%
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch
from alternatives import bytes_of, rounded, table, torch_dynamic
from torch import Tensor, nn

import autocomp
from autocomp.tasks import Regression


def patients() -> list[tuple[Tensor, Tensor]]:
    """Returns training, search and test patients; numbers of mean 0 and variance 1."""
    from sklearn.datasets import load_diabetes

    numbers, disease = (torch.tensor(x).float() for x in load_diabetes(return_X_y=True))
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))
    numbers, disease = numbers[order], disease[order]
    train = slice(0, 242)
    numbers = (numbers - numbers[train].mean(0)) / numbers[train].std(0)
    disease = (disease - disease[train].mean()) / disease[train].std()
    return [(numbers[part], disease[part]) for part in (train, slice(242, 342), slice(342, 442))]


def network(width: int = 128) -> nn.Module:
    """Returns an untrained perceptron."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(10, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, width), nn.ReLU(),
        nn.Dropout(0.3), nn.Linear(width, 1),
    )  # fmt: skip


def train(model: nn.Module, numbers: Tensor, disease: Tensor, steps: int) -> None:
    """Trains a regression with AdamW."""
    task = Regression()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1)
    model.train()
    for _ in range(steps):
        loss = task.loss(model(numbers), disease).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def explained(model: Any, numbers: Tensor, disease: Tensor) -> float:
    """Returns R2."""
    with torch.inference_mode():
        outputs = model(numbers)
    measure = Regression().measure
    return measure.value(measure.rows(outputs, disease, outputs))


def main(given: Sequence[str] | None = None) -> list[tuple[str, float, float]]:
    """Prints the table and returns its rows: name, share of bytes, R2."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budgets", nargs="+", default=["25%", "12%", "8%"])
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 4, 3, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    data = patients()
    model = network()
    train(model, *data[0], options.steps)
    size = 4 * sum(p.numel() for p in model.parameters())
    rows = [("dense", 1.0, explained(model, *data[2]))]
    alternatives = [rounded(model, bits) for bits in options.bits]
    dynamic = torch_dynamic(model)
    for made in alternatives + ([] if dynamic is None else [dynamic]):
        rows.append((made.name, made.bytes / size, explained(made.run, *data[2])))
    for budget in options.budgets:
        found = autocomp.search(
            model, data, bytes_of(budget, size), task="regression", agent="dp", evaluations=1,
            report="none", progress=False, threads=options.threads,
        )  # fmt: skip
        rows.append(
            ("AutoComp", found.file.stat().st_size / size, explained(found.model, *data[2]))
        )
    rows.sort(key=lambda row: -row[1])
    print(table(("network", "bytes", "R2"), [(n, f"{b:.2%}", f"{v:.4f}") for n, b, v in rows]))
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
