"""What one-shot recovery is worth, what an evaluation costs, and how the levels agree.

    python benchmarks/recovery.py                     # all tables, ResNet-20 on CIFAR-10
    python benchmarks/recovery.py --parts cases,time  # some of them

The network and data come from the folder in AUTOCOMP_SHARED (default ../shared). 512 calibration
images from train, no fine-tuning; validation has 5,000 images. The test split is not read.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from autocomp.search_spaces import feasible_space, make_space
from provenance import commit, resnet20_on_cifar10
from scipy.stats import kendalltau

from autocomp.compression.store import CompressionStore
from autocomp.compression.weights import MagnitudePruner, Pipeline, UniformQuantizer
from autocomp.compression.writer import PlanWriter
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.data import DataSplits, load_data
from autocomp.data.split import Split
from autocomp.models import build_model
from autocomp.network.batches import Batches
from autocomp.network.scoring import score
from autocomp.network.working_copy import working_copy
from autocomp.problem.problem import CompressionProblem

SPACE = "joint:levels=11"
PARTS = ("cases", "time", "rank", "growth")


def main() -> None:
    """Prints the tables that were asked for."""
    parser = argparse.ArgumentParser(description="Measures one-shot recovery on ResNet-20.")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plans", type=int, default=60, help="random plans of the rank table")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    weights, images = resnet20_on_cifar10()
    print(f"Commit {commit()}, {given.threads} threads, torch {torch.__version__}.\n")
    network = build_model("resnet20", weights, require_weights=True)
    data = load_data(f"cifar10:{images}")
    parts = given.parts.split(",")
    if "cases" in parts:
        cases(network, data)
    if "time" in parts:
        times(network, data)
    if "rank" in parts:
        ranks(network, data, given.plans)
    if "growth" in parts:
        growth(data)


def cases(network: torch.nn.Module, data: DataSplits) -> None:
    """One choice for all layers, simple way against recovery."""
    problem = CompressionProblem(network, data, "size=100%")
    names = problem.network.names
    inner = names[1:-1]

    def plan(choice: Choice, ends: Choice) -> Plan:
        return Plan({name: choice if name in inner else ends for name in names})

    neutral = Choice()
    listed = [
        *((f"weights {b} bits everywhere", plan(Choice.of(weight_bits=b), Choice.of(weight_bits=b)))
          for b in (4, 3, 2)),
        *((f"sparsity {s} in all inner layers", plan(Choice.of(sparsity=s), neutral))
          for s in (0.8, 0.9)),
        ("sparsity 0.6 and 3 bits (8 in first and last)",
         plan(Choice.of(sparsity=0.6, weight_bits=3), Choice.of(weight_bits=8))),
    ]  # fmt: skip
    raw = raw_scorer(network, problem, data.search)
    dense = problem.dense_score("F2")
    print(f"| case (dense {dense.accuracy:.2%}, {dense.n} images) | magnitude and nearest | "
          "with recovery (F2) | s.e. |")  # fmt: skip
    print("|---|---|---|---|")
    for name, made in listed:
        found = problem.evaluate(made, "F2")
        error = (found.accuracy * (1 - found.accuracy) / found.n) ** 0.5
        print(f"| {name} | {raw(made):.2%} | {found.accuracy:.2%} | {error:.2%} |", flush=True)
    print()


def raw_scorer(
    network: torch.nn.Module, problem: CompressionProblem, split: Split
) -> Callable[[Plan], float]:
    """Returns what scores a plan the simple way: magnitude, nearest, nothing corrected."""
    copy = working_copy(network, torch.device("cpu"))
    simple = Pipeline(MagnitudePruner(), UniformQuantizer())
    writer = PlanWriter(copy, CompressionStore(network, problem.network, pipeline=simple))
    batches = Batches(split, 500, torch.device("cpu"))

    def raw(plan: Plan) -> float:
        writer.write(plan)
        return score(copy, batches).accuracy

    return raw


def times(network: torch.nn.Module, data: DataSplits) -> None:
    """Seconds to build the tables, and what F0 and F1 cost."""
    space = make_space(SPACE)
    start = time.perf_counter()
    problem = CompressionProblem(network, data, "size=8%")
    feasible = feasible_space(problem, space)
    feasible.losses  # noqa: B018
    built = time.perf_counter() - start
    rng = np.random.default_rng(0)
    plans = np.stack([rng.integers(0, len(c), 20_000) for c in feasible.choices], 1)
    start = time.perf_counter()
    feasible.estimate(plans)
    f0 = len(plans) / (time.perf_counter() - start)
    batches = Batches(data.search.subset(1000, seed=0), 500, torch.device("cpu"))
    copy = working_copy(network, torch.device("cpu"))
    shape = (len(feasible), feasible.vector.width)
    chosen = [feasible.plan(feasible.actions.fit(rng.uniform(-1, 1, shape))) for _ in range(15)]
    forward, evaluated = [], []
    score(copy, batches)
    problem.evaluate(problem.network.neutral_plan())
    for plan in chosen:  # interleaved, so that both see the same neighbours
        start = time.perf_counter()
        score(copy, batches)
        forward.append(time.perf_counter() - start)
        start = time.perf_counter()
        problem.evaluate(plan)
        evaluated.append(time.perf_counter() - start)
    ratio = np.median(np.array(evaluated) / np.array(forward))
    print("| what | measured |\n|---|---|")
    n = sum(map(len, feasible.choices))
    print(
        f"| tables of {n} options (11 sparsities x 6 bit-widths), slopes, costs | {built:.1f} s |"
    )
    print(f"| F0 | {f0:,.0f} plans a second |")
    print(f"| plain forward pass, 1,000 images | {np.median(forward):.3f} s |")
    print(f"| F1 evaluation, 1,000 images | {np.median(evaluated):.3f} s |")
    print(f"| ratio, median of 15 pairs | {ratio:.3f} |\n", flush=True)


def ranks(network: torch.nn.Module, data: DataSplits, n: int) -> None:
    """Kendall's tau of F0, F1 and raw accuracy with F2 over random plans."""
    problem = CompressionProblem(network, data, "size=6%")
    feasible = feasible_space(problem, make_space(SPACE))
    raw = raw_scorer(network, problem, data.search.subset(1000, seed=0))
    rng = np.random.default_rng(0)
    base = np.array(feasible.allocation.plan)
    start = np.array([feasible.coordinates(t)[i] for t, i in enumerate(base)])
    columns: dict[str, list[float]] = {
        name: [] for name in ("F0", "F1", "F1 divergence", "F1 merit", "raw", "F2")
    }
    for number in range(n):
        # from nearly the solver's plan to anything at all
        spread = rng.uniform(0.05, 1.2)
        indices = feasible.actions.fit(start + rng.normal(0, spread, start.shape))
        plan = feasible.plan(indices)
        columns["F0"].append(-float(feasible.estimate(np.array([indices]))[0]))
        screened = problem.evaluate(plan)
        columns["F1"].append(screened.accuracy)
        columns["F1 divergence"].append(-screened.divergence)
        columns["F1 merit"].append(screened.merit)
        columns["raw"].append(raw(plan))
        columns["F2"].append(problem.evaluate(plan, "F2").accuracy)
        print(f"\r# {number + 1} of {n}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    f2 = np.array(columns["F2"])
    best = np.argsort(-f2)[: max(2, n // 5)]
    print(f"| Kendall tau with F2, {n} random plans at size=6% | all | top fifth by F2 |")
    print("|---|---|---|")
    for level in ("raw", "F0", "F1", "F1 divergence", "F1 merit"):
        values = np.array(columns[level])
        all_of = kendalltau(values, f2).statistic
        top = kendalltau(values[best], f2[best]).statistic
        print(f"| {level} | {all_of:.2f} | {top:.2f} |")
    print(f"\nF2 of these plans: {f2.min():.2%} to {f2.max():.2%}.\n", flush=True)


def growth(data: DataSplits) -> None:
    """How the time to build tables and to solve grows with depth; random weights."""
    print(
        "| network | layers | options | tables, slopes and costs, s | solver, s | peak memory, GB |"
    )
    print("|---|---|---|---|---|---|")
    vectors = _vectors()
    for name, options, given in (
        ("resnet20", {}, data),
        ("resnet56", {}, data),
        ("resnet110", {}, data),
        ("mlp", {"in_features": 64, "hidden": [32] * 199}, vectors),
    ):
        torch.manual_seed(0)
        network = build_model(name, **options) if options else build_model(name)
        start = time.perf_counter()
        problem = CompressionProblem(network, given, "size=8%")
        feasible = feasible_space(problem, make_space(SPACE))
        feasible.losses  # noqa: B018
        built = time.perf_counter() - start
        start = time.perf_counter()
        feasible.allocation.plan  # noqa: B018
        solved = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        n = sum(map(len, feasible.choices))
        print(f"| {name} | {len(feasible)} | {n:,} | {built:.1f} | {solved:.2f} | {peak:.1f} |",
              flush=True)  # fmt: skip
    print()


def _vectors() -> DataSplits:
    torch.manual_seed(0)
    x, y = torch.randn(1536, 64), torch.randint(0, 10, (1536,))
    return load_data(((x[:512], y[:512]), (x[512:1024], y[512:1024]), (x[1024:], y[1024:])))


if __name__ == "__main__":
    main()
