"""What searches gain over the solver's plan on images that they never used: prints a table.

    python benchmarks/clean.py                                       # ResNet-20, four budgets
    python benchmarks/clean.py --agents posterior --budgets size=3% --evaluations 60 --seeds 0,1
    python benchmarks/clean.py --travel size=5%,size=2.5%            # multipliers at other budgets

Half of the 5,000 validation images propose plans (1,000 of them at F1); the figures are of the
other half, which no search, calibration or selection used. Of every search two plans are tried: the
best by merit among those that it evaluated, and the one that the agent believes in where it names
one. Each is compared with the solver's plan after reconstruction (F2S), image by image: the gap
(T^2 KL at T = 4, smaller is better) and the accuracy, with standard errors of the differences.
With --travel the multipliers of the posterior agent's search go to other budgets, and the plan that
they give there is compared without an evaluation.

The network and data come from the folder in AUTOCOMP_SHARED (default ../shared).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from autocomp.agents import SearchResult, SearchTask, make_agent
from autocomp.search_spaces import FeasibleSpace, make_space
from provenance import commit, resnet20_on_cifar10
from torch import Tensor

from autocomp.core.fidelity import Fidelity
from autocomp.core.plan import Plan
from autocomp.data import DataSplits, Split, load_data
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.tasks import Classification
from autocomp.training import TrainingConfig


def main() -> None:
    """Searches, and prints a row for every plan that is tried."""
    parser = argparse.ArgumentParser(description="Gains on images that no search used.")
    parser.add_argument("--agents", default="posterior,tpe,local")
    parser.add_argument("--space", default="joint")
    parser.add_argument("--budgets", default="size=5%,size=4%,size=3%,size=2.5%")
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--level", default="F1", help="as what searches judge plans: F1, F2S, F3")
    parser.add_argument("--travel", default="", help="budgets that multipliers travel to")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    weights, images = resnet20_on_cifar10()
    network = build_model("resnet20", weights, require_weights=True)
    data = halved(load_data(f"cifar10:{images}"))
    budgets = given.budgets.split(",")
    settings = ProblemSettings(screening=Fidelity.of(given.level), tuning=TrainingConfig(steps=100))
    problem = CompressionProblem(network, data, budgets[0], settings)
    feasible = FeasibleSpace.build(problem, make_space(given.space))
    clean = Clean(problem)
    print(
        f"Commit {commit()}, {given.threads} threads, {given.evaluations} evaluations at "
        f"{given.level}; {len(data.test)} clean images, after reconstruction.\n"
    )
    print("| budget | agent | seed | plan | gap | difference | accuracy | difference | seconds |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for budget in budgets:
        here = feasible.under(budget)
        clean.start(here)
        clean.row(budget, "dp", "", "solver's", here.plan(here.allocation.plan), 0.0)
        for name in given.agents.split(","):
            for seed in map(int, given.seeds.split(",")):
                began = time.perf_counter()
                task = SearchTask(here, given.evaluations, seed, (clean.solvers,))
                found = make_agent(name).search(task)
                seconds = time.perf_counter() - began
                best = found.best
                assert best is not None  # the start is feasible
                clean.row(budget, name, str(seed), "best by merit", best.plan, seconds)
                for plan in found.finalists:
                    clean.row(budget, name, str(seed), "believed in", plan, seconds)
                if name == "posterior" and given.travel:
                    travel(feasible, clean, found, f"{budget}, seed {seed}", given.travel)
                    clean.start(here)


def halved(data: DataSplits) -> DataSplits:
    """Returns the data with half of the search split as a test split."""
    search = data.search
    first = set(search.drawn(len(search) // 2, 1).tolist())
    own, other = ([i for i in range(len(search)) if (i in first) is side] for side in (True, False))
    labels = search.labels
    assert labels is not None

    def part(name: str, rows: list[int]) -> Split:
        return Split.of(search.images[rows], labels[rows], name, search.mean, search.std)

    return replace(data, search=part("searched", own), test=part("clean", other))


class Clean:
    """Compares plans on the clean half.

    Args:
        problem: the problem that searches see.
    """

    def __init__(self, problem: CompressionProblem) -> None:
        data = replace(problem.data, search=problem.data.test)
        self._problem = CompressionProblem(problem.store.model, data, problem.budgets)
        self._known: dict[Plan, tuple[Tensor, Tensor]] = {}

    def start(self, feasible: FeasibleSpace) -> None:
        """Compares with the solver's plan of a feasible space from here on."""
        self._here = self._problem.under(feasible.problem.budgets)
        self.solvers = feasible.plan(feasible.allocation.plan)
        self._known = {}

    def row(
        self, budget: str, agent: str, seed: str, what: str, plan: Plan, seconds: float
    ) -> None:
        """Prints a plan's figures beside the solver's."""
        gap, right = self._figures(plan)
        start_gap, start_right = self._figures(self.solvers)
        cells = [
            f"{float(gap.mean()):.4f}", _difference(gap - start_gap, ""),
            f"{100 * float(right.mean()):.2f}", _difference(100 * (right - start_right), " points"),
        ]  # fmt: skip
        print(
            f"| {budget} | {agent} | {seed} | {what} | {' | '.join(cells)} | {seconds:.0f} |",
            flush=True,
        )

    def _figures(self, plan: Plan) -> tuple[Tensor, Tensor]:
        if plan not in self._known:
            pair = self._here.outputs(plan, Fidelity.RECONSTRUCTED)
            labels = self._here.data.search.labels
            assert labels is not None
            gap = Classification().gap(pair.compressed, pair.dense).double()
            self._known[plan] = gap, (pair.compressed.argmax(1) == labels).double()
        return self._known[plan]


def travel(
    feasible: FeasibleSpace, clean: Clean, found: SearchResult, origin: str, budgets: str
) -> None:
    """Tries a search's multipliers at other budgets."""
    assert found.save is not None  # the posterior agent has something to save
    with tempfile.TemporaryDirectory() as folder:
        file = found.save(Path(folder))
        for budget in budgets.split(","):
            there = feasible.under(budget)
            clean.start(there)
            agent = make_agent("posterior").with_policy(str(file))
            plan = agent.search(SearchTask(there, 2)).outcomes[-1].plan
            clean.row(budget, "posterior", "", f"travelled from {origin}", plan, 0.0)


def _difference(values: Tensor, unit: str) -> str:
    error = float(values.std() / len(values) ** 0.5)
    return f"{float(values.mean()):+.4g} +- {error:.2g}{unit}"


if __name__ == "__main__":
    main()
