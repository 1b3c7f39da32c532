"""Which figure of a few images ranks plans as clean images do, after recovery: prints a table.

    python benchmarks/reward.py                                    # ResNet-20, 60 plans a budget
    python benchmarks/reward.py --networks vit,mlp --plans 60      # networks on digits
    python benchmarks/reward.py --level F3 --plans 16              # against trained plans

For every budget it draws plans around the solver's, by multipliers on the layers' losses, and
judges each on the images of F1 by several figures. The truth is what a plan has after
reconstruction (F2S), or after a short training (F3), on the search images that F1 does not use: the
squared error of its outputs, and its accuracy. Printed are the spread of the plans' figures over
the standard error of their paired differences from the solver's plan, and Kendall's tau with the
truth, over all plans and over the fifth that is truly best.

ResNet-20 on CIFAR-10 comes from the folder in AUTOCOMP_SHARED (default ../shared); the networks on
digits are trained here.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from autocomp.search_spaces import FeasibleSpace, make_space
from provenance import commit, resnet20_on_cifar10
from scipy.stats import kendalltau
from torch import Tensor, nn
from transfer import TRAINED_HERE, trained

from autocomp.core.fidelity import Fidelity
from autocomp.core.plan import Plan
from autocomp.data import DataSplits, load_data
from autocomp.data.stratify import stratified
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.training import TrainingConfig

Figure = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Outputs, dense outputs and labels -> a number a sample that is smaller for better plans."""


def divergence(temperature: float) -> Figure:
    """Returns T^2 KL(dense || compressed) at a temperature."""

    def figure(outputs: Tensor, dense: Tensor, labels: Tensor) -> Tensor:
        t = temperature
        own, other = F.log_softmax(outputs / t, 1), F.log_softmax(dense / t, 1)
        return t * t * F.kl_div(own, other, log_target=True, reduction="none").sum(1)

    return figure


def squared(outputs: Tensor, dense: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean squared error of the outputs, a common offset aside."""
    gap = outputs - dense
    return (gap - gap.mean(1, keepdim=True)).square().mean(1)


def wrong(outputs: Tensor, dense: Tensor, labels: Tensor) -> Tensor:
    """Returns whether a prediction is wrong."""
    return (outputs.argmax(1) != labels).float()


def both(outputs: Tensor, dense: Tensor, labels: Tensor) -> Tensor:
    """Returns the merit until 0.4: errors plus 3000 / n times the divergence at T = 1."""
    return wrong(outputs, dense, labels) + 3000 / len(outputs) * divergence(1)(
        outputs, dense, labels
    )


FIGURES: dict[str, Figure] = {
    "errors": wrong, "errors + 3 KL": both, "KL, T=1": divergence(1), "KL, T=2": divergence(2),
    "KL, T=4": divergence(4), "KL, T=8": divergence(8), "squared error": squared,
}  # fmt: skip


def main() -> None:
    """Prints a table a network."""
    parser = argparse.ArgumentParser(description="Compares rewards by how they rank plans.")
    parser.add_argument("--networks", default="resnet20")
    parser.add_argument("--budgets", default="size=8%,size=5%,size=3%")
    parser.add_argument("--plans", type=int, default=60)
    parser.add_argument("--level", default="F2S", help="F2S or F3")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"Commit {commit()}, {given.threads} threads, truth {given.level}.")
    for name in given.networks.split(","):
        network, data, few = subject(name)
        for budget in given.budgets.split(","):
            settings = ProblemSettings(search_images=few, tuning=TrainingConfig(steps=100))
            problem = CompressionProblem(network, data, budget, settings)
            table(name, problem, budget, given.plans, Fidelity.of(given.level))


def subject(name: str) -> tuple[nn.Module, DataSplits, int]:
    """Returns a trained network, its data, and how many images F1 has."""
    if name == "resnet20":
        weights, images = resnet20_on_cifar10()
        network = build_model("resnet20", weights, require_weights=True)
        return network, load_data(f"cifar10:{images}"), 1000
    if name not in TRAINED_HERE:
        raise SystemExit(f"--networks takes resnet20, {', '.join(TRAINED_HERE)}, not {name!r}.")
    return trained(name), load_data("digits"), 150


def table(name: str, problem: CompressionProblem, budget: str, n: int, truth: Fidelity) -> None:
    """Judges plans of one budget and prints how the figures rank them."""
    feasible = FeasibleSpace.build(problem, make_space("joint"))
    plans = drawn(feasible, n)
    search = problem.data.search
    labels = search.labels
    assert labels is not None
    few = stratified(labels, problem.settings.search_images, 0)
    clean = torch.ones(len(search), dtype=torch.bool)
    clean[few] = False
    per_plan: dict[str, list[Tensor]] = {figure: [] for figure in FIGURES}
    error, accuracy, seconds = [], [], [0.0, 0.0]
    true: dict[str, list[Tensor]] = {"errors": [], "KL, T=4": []}
    for plan in plans:
        for at, level in enumerate((Fidelity.SCREEN, truth)):
            began = time.perf_counter()
            pair = problem.outputs(plan, level)
            seconds[at] += time.perf_counter() - began
            if level is Fidelity.SCREEN:
                for figure, values in FIGURES.items():
                    per_plan[figure].append(values(pair.compressed, pair.dense, labels[few]))
            else:
                error.append(
                    float(squared(pair.compressed[clean], pair.dense[clean], labels[clean]).mean())
                )
                for figure, kept in true.items():
                    found = FIGURES[figure](pair.compressed, pair.dense, labels)
                    kept.append(found[clean].double())
                accuracy.append(1 - float(wrong(pair.compressed, pair.dense, labels)[clean].mean()))
    estimates = [feasible.allocation.loss(feasible.indices(plan)) for plan in plans]
    print(
        f"\n{name} at {budget}: {len(plans)} plans, F1 {seconds[0] / len(plans):.2f} s, "
        f"{truth.value} {seconds[1] / len(plans):.1f} s a plan; clean accuracy "
        f"{min(accuracy):.2%} .. {max(accuracy):.2%}, the solver's {accuracy[0]:.2%} "
        f"(squared error {error[0]:.3f}; least {min(error):.3f}, median "
        f"{statistics.median(error):.3f})\n"
    )
    print("| figure | spread / paired error | tau, squared error | best fifth | tau, accuracy |")
    print("|---|---|---|---|---|")
    rows = {figure: torch.stack(values).double() for figure, values in per_plan.items()}
    for figure, values in rows.items():
        paired = values - values[:1]
        noise = float((paired[1:].std(1) / values.shape[1] ** 0.5).mean())
        spread = float(values.mean(1).std()) / max(noise, 1e-12)
        print(_row(figure, f"{spread:.1f}", values.mean(1).tolist(), error, accuracy), flush=True)
    print(_row("F0", "", estimates, error, accuracy), flush=True)
    taus = {
        figure: _halves(torch.stack(x), torch.stack(true["errors"])) for figure, x in true.items()
    }
    told = " and ".join(f"{tau:.2f} ({figure})" for figure, tau in taus.items())
    print(f"\nKendall's tau of {truth.value} on half of the clean images with errors on the other "
          f"half: {told}.", flush=True)  # fmt: skip


def drawn(feasible: FeasibleSpace, n: int, sigma: float = 0.5) -> list[Plan]:
    """Returns the solver's plan and distinct ones of lognormal multipliers on layers' losses."""
    rng = np.random.default_rng(0)
    found = dict.fromkeys([feasible.plan(feasible.allocation.plan)])
    for _ in range(50 * n):
        if len(found) >= n:
            break
        multipliers = np.exp(rng.normal(0, sigma, len(feasible)))
        found[feasible.plan(feasible.allocation.reweighted(multipliers))] = None
    return list(found)


def _halves(figure: Tensor, errors: Tensor, draws: int = 20) -> float:
    """Returns the mean tau of a figure on one half of the images with errors on the other."""
    generator = torch.Generator().manual_seed(0)
    n = figure.shape[1]
    taus = []
    for _ in range(draws):
        order = torch.randperm(n, generator=generator)
        own, other = figure[:, order[: n // 2]].mean(1), errors[:, order[n // 2 :]].mean(1)
        taus.append(kendalltau(own.tolist(), other.tolist()).statistic)
    return statistics.mean(taus)


def _row(
    name: str, spread: str, figures: list[float], error: list[float], accuracy: list[float]
) -> str:
    best = np.argsort(error)[: max(3, len(error) // 5)]
    cells = (
        kendalltau(figures, error).statistic,
        kendalltau(np.array(figures)[best], np.array(error)[best]).statistic,
        kendalltau(figures, [-x for x in accuracy]).statistic,
    )
    return f"| {name} | {spread} | " + " | ".join(f"{x:.2f}" for x in cells) + " |"


if __name__ == "__main__":
    main()
