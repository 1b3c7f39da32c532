"""Does a policy travel? TrainedPolicy on all networks but one, tried on that one: prints a table.

    python benchmarks/transfer.py                      # five networks, 3 seeds, about half an hour
    python benchmarks/transfer.py --networks digits,mlp,vit --seeds 0 --episodes 60

For every network a policy is trained on the others, over a range of budgets, and saved. On the
network that it has never seen, at each test budget, plans are judged after 0, 1, 10 and 50
evaluations: by what share their divergence from the dense outputs (F1) lies below that of the exact
solver's plan, the best so far counting. Beside it stand an untrained agent, `dp` (0 by definition)
and `tpe`, all without a warm start. After 0 evaluations means: the plan that is proposed before
anything was evaluated (`tpe` has none).

ResNet-20 on CIFAR-10 comes from the folder in AUTOCOMP_SHARED (default ../shared) and is left out
where there is none; the networks on digits are trained here, in a few seconds each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import torch
import torch.nn.functional as F
from autocomp.agents import SearchTask, make_agent
from autocomp.agents.policy import propose
from autocomp.agents.reinforcement.episodes import EpisodeLog
from autocomp.envs import ENVS
from autocomp.search_spaces import FeasibleSpace
from provenance import commit
from torch import nn

from autocomp.api.setup import OBJECT, SearchSetup
from autocomp.api.train_policy import TrainingNetwork, train_policy
from autocomp.core.budget import parse_budgets
from autocomp.data import load_data
from autocomp.models import build_model
from autocomp.runs.settings import SearchConfig

ROOT = Path(__file__).resolve().parent.parent
SPACE = "coefficients:menu=joint"
COUNTS = (0, 1, 10, 50)
TRAINED_HERE: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("mlp", {"hidden": (128, 64, 64)}),
    "vit": ("vit", {"image_size": 8, "patch": 2, "dim": 48, "depth": 3, "heads": 3,
                    "in_channels": 1}),
    "resnet20-digits": ("resnet20", {"in_channels": 1}),
}  # fmt: skip


def main() -> None:
    """Trains, tries, and prints a row per network, budget and agent."""
    parser = argparse.ArgumentParser(description="Leaves one network out.")
    parser.add_argument("--networks", default="digits,mlp,vit,resnet20-digits,resnet20")
    parser.add_argument("--train-budget", default="size=3%..12%")
    parser.add_argument("--budgets", default="8%,4%", help="test budgets")
    parser.add_argument("--episodes", type=int, default=320)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pupils = {name: p for name in given.networks.split(",") if (p := pupil(name)) is not None}
    print(f"Commit {commit()}; {given.episodes} episodes on the other networks at "
          f"{given.train_budget}; seeds {given.seeds}. Share by which the divergence lies below "
          "the solver's, median over seeds (range).\n")  # fmt: skip
    print("| left out | budget | agent | " + " | ".join(f"after {n}" for n in COUNTS) + " |")
    print("|---" * (len(COUNTS) + 3) + "|", flush=True)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        for held_out, own in pupils.items():
            start = time.perf_counter()
            policies = {}
            for seed in seeds:
                path = Path(folder) / f"{held_out}-{seed}"
                others = [p for name, p in pupils.items() if name != held_out]
                train_policy(others, given.train_budget, space=SPACE, episodes=given.episodes,
                             n_budgets=4, seed=seed, out=path)  # fmt: skip
                policies[seed] = path
            trained = time.perf_counter() - start
            for budget in given.budgets.split(","):
                for agent, rows in compare(own, f"size={budget}", policies).items():
                    cells = [_cell([row[i] for row in rows]) for i in range(len(COUNTS))]
                    print(f"| {held_out} | {budget} | {agent} | {' | '.join(cells)} |", flush=True)
            print(f"# {held_out}: trained in {trained / len(seeds):.0f} s a seed", flush=True)


def pupil(name: str) -> TrainingNetwork | None:
    """Returns a network with its data; None for one that is not here."""
    if name == "digits":
        return TrainingNetwork("digits", "digits")
    if name in TRAINED_HERE:
        return TrainingNetwork(trained(name), "digits")
    shared = Path(os.environ.get("AUTOCOMP_SHARED", ROOT.parent / "shared"))
    weights, data = shared / "models" / "resnet20.safetensors", shared / "data" / "cifar10-jpeg"
    if not weights.exists() or not data.exists():
        print(f"# {name} left out: {shared} does not hold it; set AUTOCOMP_SHARED.")
        return None
    return TrainingNetwork("resnet20", f"cifar10:{data}", str(weights))


def trained(name: str) -> nn.Module:
    """Trains a network on the digits' training split."""
    factory, options = TRAINED_HERE[name]
    torch.manual_seed(0)
    model = build_model(factory, **options)
    split = load_data("digits").train
    assert split is not None  # digits have one
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)
    model.train()
    for _ in range(30):
        for rows in torch.randperm(len(split)).split(64):
            images, labels = split.batch(rows)
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval()


def compare(
    own: TrainingNetwork, budget: str, policies: dict[int, Path]
) -> dict[str, list[list[Any]]]:
    """Returns, per agent, a row of shares for each seed; None where there is no plan yet."""
    text = own.model if isinstance(own.model, str) else OBJECT
    config = SearchConfig(model=text, weights=own.weights, data=str(own.data), budget=(budget,),
                          space=SPACE, agent="ddpg", warm_start="none")  # fmt: skip
    setup = SearchSetup.build(config, own.model, own.data, "ddpg", SPACE, parse_budgets(budget))
    feasible, problem = setup.feasible, setup.problem
    standard = problem.evaluate(feasible.plan(feasible.allocation.plan)).divergence

    def share(divergence: float) -> float:
        return (standard - divergence) / standard

    found: dict[str, list[list[Any]]] = {}
    for seed, policy in policies.items():
        for name, text in (("policy", "ddpg"), ("untrained", "ddpg"), ("tpe", "tpe")):
            agent = make_agent(text, **({"policy": str(policy)} if name == "policy" else {}))
            first = None
            if text != "tpe":
                indices = feasible.allocation.settle(proposed(agent, feasible, seed))
                first = share(problem.evaluate(feasible.plan(indices)).divergence)
            outcomes = agent.search(SearchTask(feasible, max(COUNTS), seed)).outcomes
            values = [share(min(o.divergence for o in outcomes[:n])) for n in COUNTS[1:]]
            found.setdefault(name, []).append([first, *values])
    found["dp"] = [[0.0] * len(COUNTS)]
    return found


def proposed(agent: Any, feasible: FeasibleSpace, seed: int) -> list[int]:
    """Returns the plan that an agent's network proposes before anything is evaluated."""
    with gymnasium.make(ENVS["layerwise"], problem=feasible, disable_env_checker=True) as env:
        if agent.policy:
            return propose(agent.learned(env, feasible, seed), feasible).indices
        return propose(agent.build(EpisodeLog(env), feasible, seed), feasible).indices


def _cell(values: list[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    if not known:
        return ""
    middle = f"{statistics.median(known):+.1f} %"
    return middle if len(known) == 1 else f"{middle} ({min(known):+.1f}..{max(known):+.1f})"


if __name__ == "__main__":
    main()
