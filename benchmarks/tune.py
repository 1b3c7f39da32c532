"""What training within a plan brings: ResNet-20 on CIFAR-10, within the same bytes.

    python benchmarks/tune.py                                   # every row, one epoch
    python benchmarks/tune.py --epochs 1,3 --seeds 0,1,2        # medians of three seeds
    python benchmarks/tune.py --parts minute                    # what the first minute buys
    python benchmarks/tune.py --parts plain                     # what one would do instead
    python benchmarks/tune.py --parts losses                    # losses, one at a time
    python benchmarks/tune.py --parts rank                      # levels against TUNED

The network and data come from the folder in AUTOCOMP_SHARED (default ../shared). Plans are those of
`dp`, chosen on 5,000 validation images; training sees the 50,000 of train. The test split (2,500
images) is read once for every network that is printed, and chooses nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from autocomp.search_spaces import FeasibleSpace, make_space
from provenance import commit, resnet20_on_cifar10
from scipy.stats import kendalltau
from torch import nn

from autocomp.artifacts.container import unpack
from autocomp.compression.noted_file import note_file, shapes_of
from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import best_of
from autocomp.core.plan import Plan
from autocomp.data import DataSplits, load_data
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.problem.tuning import TrainingRequest
from autocomp.training import TrainingConfig

SIZES = ("size=8%", "size=5%", "size=4%", "size=3%", "size=2.5%", "size=2%")
STRUCTURED = "macs=50%"
LOSSES = (
    "task", "label-smoothing(e=0.1)", "virtual-teacher", "kd(T=1)", "kd(T=4)",
    "0.9*kd(T=4)+0.1*task", "0.9*noisy-teacher(sigma=0.2)+0.1*task",
    "0.9*kd(T=4)+0.1*task+10*hints", "0.9*kd(T=4)+0.1*task+100*attention",
    "0.9*kd(T=4)+0.1*task+25*rkd-distance+50*rkd-angle", "0.9*kd(T=4)+0.1*task+0.5*crd",
    "0.9*kd(T=4)+0.1*task+0.5*subclass",
)  # fmt: skip


@dataclass(frozen=True)
class Start:
    """A plan's network before it is trained."""

    problem: CompressionProblem
    plan: Plan
    network: nn.Module
    data: bytes


def main() -> None:
    """Prints the tables that were asked for."""
    parser = argparse.ArgumentParser(description="Measures training within plans on ResNet-20.")
    parser.add_argument("--parts", default="table")
    parser.add_argument("--budgets", default=",".join((*SIZES, STRUCTURED)))
    parser.add_argument("--epochs", default="1")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--set", default="", help="further settings of TrainingConfig")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    weights, images = resnet20_on_cifar10()
    print(f"Commit {commit()}, {given.threads} threads, torch {torch.__version__}.\n")
    network = build_model("resnet20", weights, require_weights=True)
    data = load_data(f"cifar10:{images}")
    budgets = given.budgets.split(",")
    epochs = [float(text) for text in given.epochs.split(",")]
    seeds = [int(text) for text in given.seeds.split(",")]
    parts = given.parts.split(",")
    if "table" in parts:
        table(network, data, budgets, epochs, seeds, given.set)
    if "minute" in parts:
        minute(network, data, budgets)
    if "plain" in parts:
        plain(network, data, epochs[0])
    if "losses" in parts:
        losses(network, data, seeds)
    if "rank" in parts:
        rank(network, data)


def start(network: nn.Module, data: DataSplits, budget: str) -> Start:
    """Returns the network of the solver's plan, recovered as well as it gets without training."""
    problem = CompressionProblem(network, data, budget)
    structural = not budget.startswith("size")
    space = make_space("structured" if structural else "joint")
    feasible = FeasibleSpace.build(problem, space)
    plans = [feasible.plan(indices) for indices in feasible.allocation.starts()]
    found = [problem.evaluate(p, level) for p in plans
             for level in (Fidelity.FULL, Fidelity.RECONSTRUCTED)]  # fmt: skip
    best = best_of(found)
    assert best is not None
    model, packed = problem.compressed(best.plan, best.fidelity)
    note_file(model, unpack(packed, shapes_of(model)))
    return Start(problem, best.plan, model, packed)


def table(
    network: nn.Module, data: DataSplits, budgets: Sequence[str], epochs: Sequence[float],
    seeds: Sequence[int], more: str,
) -> None:  # fmt: skip
    """Every budget, before and after, medians over the seeds."""
    head = "".join(f" {e:g} epochs |" for e in epochs)
    print(f"| budget | before | bytes before |{head} bytes after | codes moved | CPU s |")
    print("|---|---|---|" + "---|" * (len(epochs) + 3))
    for budget in budgets:
        first = start(network, data, budget)
        cells, bytes_, moved, seconds = [], 0, 0.0, 0.0
        for count in epochs:
            valid, test = [], []
            for seed in seeds:
                text = f"epochs={count},seed={seed}" + (f",{more}" if more else "")
                began = time.process_time()
                made = first.problem.train(
                    first.network, first.plan, TrainingRequest(TrainingConfig.of(text))
                )
                seconds = time.process_time() - began
                valid.append(first.problem.score_of(made.network).quality)
                test.append(first.problem.test_of(made.network).compressed.quality)
                bytes_, moved = len(made.data), made.flipped
            cells.append(f"{_percent(valid)} / {_percent(test)}")
        before = first.problem.score_of(first.network).quality
        tested = first.problem.test_of(first.network).compressed.quality
        print(
            f"| {budget} | {_percent([before])} / {_percent([tested])} | {len(first.data):,} | "
            f"{' | '.join(cells)} | {bytes_:,} | {moved:.2%} | {seconds:.0f} |", flush=True,
        )  # fmt: skip


def minute(network: nn.Module, data: DataSplits, budgets: Sequence[str]) -> None:
    """What the first steps bring."""
    print("\n| budget | before | 100 steps | 200 steps | 400 steps | CPU s of 400 |")
    print("|---|---|---|---|---|---|")
    for budget in budgets:
        first = start(network, data, budget)
        cells, seconds = [], 0.0
        for steps in (100, 200, 400):
            began = time.process_time()
            request = TrainingRequest(TrainingConfig(steps=steps))
            made = first.problem.train(first.network, first.plan, request)
            seconds = time.process_time() - began
            cells.append(f"{first.problem.score_of(made.network).quality:.2%}")
        before = first.problem.score_of(first.network).quality
        print(f"| {budget} | {before:.2%} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


def plain(network: nn.Module, data: DataSplits, epochs: float) -> None:
    """Magnitude pruning or nearest rounding, trained the same way by hand; bytes of the same coder.

    The zeros stay and weights are rounded straight through, with the same loss, views and rates.
    """
    print("\n| what | before | after | bytes |\n|---|---|---|---|")
    for name, settings in (
        ("8-bit, 88 % zeros by magnitude", {"sparsity": 0.88, "weight_bits": 8}),
        ("4-bit, 85 % zeros by magnitude", {"sparsity": 0.85, "weight_bits": 4}),
        ("2-bit, nearest", {"sparsity": 0.0, "weight_bits": 2}),
    ):
        from autocomp.compression.weights import MagnitudePruner, Pipeline, UniformQuantizer
        from autocomp.core.choice import Choice

        simple = ProblemSettings(pipeline=Pipeline(MagnitudePruner(), UniformQuantizer()))
        problem = CompressionProblem(network, data, "size=100%", simple)
        names = problem.network.names
        ends = Choice.of(weight_bits=8)
        plan = Plan({n: ends if n in (names[0], names[-1]) else Choice.of(**settings)
                     for n in names})  # fmt: skip
        model, packed = problem.compressed(plan)
        note_file(model, unpack(packed, shapes_of(model)))
        small = problem.under(f"size={len(packed)}B")
        before = small.score_of(model).quality
        config = TrainingConfig(epochs=epochs, masks="fixed")
        made = small.train(model, plan, TrainingRequest(config))
        after = small.score_of(made.network).quality
        print(f"| {name} | {before:.2%} | {after:.2%} | {len(made.data):,} |", flush=True)


def losses(network: nn.Module, data: DataSplits, seeds: Sequence[int]) -> None:
    """Each loss at one budget of bytes and one structured plan."""
    print("\n| loss | size=3% | macs=50% |\n|---|---|---|")
    starts = [start(network, data, budget) for budget in ("size=3%", STRUCTURED)]
    for text in LOSSES:
        cells = []
        for first in starts:
            found = []
            for seed in seeds:
                config = TrainingConfig(steps=400, loss=text, seed=seed)
                made = first.problem.train(first.network, first.plan, TrainingRequest(config))
                found.append(first.problem.score_of(made.network).quality)
            cells.append(_percent(found))
        print(f"| `{text}` | {' | '.join(cells)} |", flush=True)


def rank(network: nn.Module, data: DataSplits, plans: int = 12) -> None:
    """Kendall's tau of each level with TUNED, over random plans of one budget."""
    problem = CompressionProblem(
        network, data, "size=3%", ProblemSettings(tuning=TrainingConfig(steps=100))
    )
    feasible = FeasibleSpace.build(problem, make_space("joint"))
    generator = torch.Generator().manual_seed(0)
    chosen = [feasible.plan(i) for i in feasible.allocation.starts()]
    while len(chosen) < plans:
        chosen.append(_near(feasible, chosen[0], generator))
    print("\n| level | Kendall's tau with TUNED | seconds a plan |\n|---|---|---|")
    levels = (Fidelity.SCREEN, Fidelity.FULL, Fidelity.RECONSTRUCTED, Fidelity.TUNED)
    found = {level: [problem.evaluate(plan, level) for plan in chosen] for level in levels}
    best = [o.rank[1] for o in found[Fidelity.TUNED]]
    for level in levels:
        tau = kendalltau([o.rank[1] for o in found[level]], best).statistic
        seconds = statistics.mean(o.seconds for o in found[level])
        print(f"| {level.name} ({level.value}) | {tau:.2f} | {seconds:.1f} |", flush=True)


def _near(feasible: FeasibleSpace, plan: Plan, generator: torch.Generator) -> Plan:
    """Returns a plan within budget that differs in about half of the layers."""
    indices: list[int] = []
    for layer, menu in zip(feasible.layers, feasible.choices, strict=True):
        allowed = feasible.allocation.mask(indices).nonzero()[0]
        own = menu.index(plan[layer.name])
        keep = own in allowed and float(torch.rand((), generator=generator)) < 0.5
        drawn = int(allowed[int(torch.randint(len(allowed), (), generator=generator))])
        indices.append(own if keep else drawn)
    return feasible.plan(indices)


def _percent(values: Sequence[float]) -> str:
    return f"{100 * statistics.median(values):.2f}"


if __name__ == "__main__":
    main()
