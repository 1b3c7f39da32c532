"""Training a policy that travels: over several networks and budgets, into a folder of its own."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autocomp.agents import PolicyTask, make_agent
from autocomp.agents.task import OnEpisode
from autocomp.api.setup import OBJECT, SearchSetup
from autocomp.core.budget import Budget
from autocomp.core.fidelity import Fidelity
from autocomp.errors import AgentError, BudgetError, RunError
from autocomp.plugins.border import border
from autocomp.runs.settings import SearchConfig
from autocomp.search_spaces import FeasibleSpace
from autocomp.storage.files import write_json
from autocomp.storage.paths import user_path

TRAINING = "training.json"
EPISODES = "episodes.jsonl"


@dataclass(frozen=True)
class TrainingNetwork:
    """One network to train on.

    Attributes:
        model: as for a search.
        data: as for a search.
        weights: weights file, "" for none.
    """

    model: Any
    data: Any
    weights: str = ""


@dataclass(frozen=True)
class TrainedPolicy:
    """What training hands back.

    Attributes:
        path: the folder; `autocomp search --policy` takes it.
        returns: return of each episode: by what share its plan's loss lay below the solver's.
        tasks: which problem each was about, as places in `budgets`.
        budgets: (network's number, budget) of each problem.
        share: by how much the policy was scaled, see `shrink_actions`; 1 where it was not.
    """

    path: Path
    returns: tuple[float, ...]
    tasks: tuple[int, ...]
    budgets: tuple[tuple[int, str], ...]
    share: float = 1.0


@border("autocomp.train_policy")
def train_policy(
    networks: Sequence[TrainingNetwork],
    budget: str = "size=3%..12%",
    *,
    agent: str = "ddpg",
    space: str = "coefficients:menu=joint",
    episodes: int = 300,
    n_budgets: int = 6,
    level: str = "F1",
    seed: int = 0,
    out: str | Path | None = None,
    on_episode: OnEpisode | None = None,
    **settings: Any,
) -> TrainedPolicy:
    """Trains one policy over several networks and budgets, and saves it.

    At the end it is scaled by what budgets between those that it was trained on want, see
    `shrink_actions`.

    Args:
        networks: the networks, with their data.
        budget: the range that budgets are drawn from, "COST=LEAST..LARGEST" as shares of each
            network's own cost.
        agent: a learning agent, as for a search.
        space: the action space; searches that begin with the policy must use the same.
        episodes: episodes in all.
        n_budgets: budgets of each network, evenly spread over the range's logarithm; those that a
            network cannot meet are left out.
        level: what plans are judged by: "F0" (estimates: takes seconds, and teaches the solver's
            own plan) or "F1" (measured).
        seed: makes the training repeatable.
        out: the folder; `runs/<time>-policy-<agent>` by default.
        on_episode: called after each episode.
        **settings: further settings of `SearchConfig`, as `keep=("conv1",)`.

    Raises:
        AutocompError: in one line, for anything wrong with the input; nothing is written then.
    """
    networks = [_checked(network) for network in networks]
    level = Fidelity.of(level).value
    budgets = budget_range(budget, n_budgets)
    made = make_agent(agent)
    if not networks:
        raise AgentError("A policy is trained on at least one network; give --problem.")
    tasks: list[tuple[int, str]] = []
    taught: list[FeasibleSpace] = []
    unseen: list[FeasibleSpace] = []
    for number, network in enumerate(networks):
        own, between = _under_budgets(network, budgets, agent, space, seed, settings)
        taught += own
        unseen += between
        tasks += [(number, ",".join(map(str, feasible.problem.budgets))) for feasible in own]
    path = _folder(out, agent)
    found: list[tuple[int, float]] = []
    file = path / EPISODES

    def record(episode: int, place: int, value: float) -> None:
        found.append((place, value))
        with file.open("a") as lines:
            lines.write(json.dumps({"lesson": place, "return": round(value, 6)}) + "\n")
        if on_episode is not None:
            on_episode(episode, place, value)

    try:
        trained = made.train_policy(PolicyTask(taught, unseen, episodes, level, seed, record))
    finally:
        if not found:  # an empty folder helps nobody
            path.rmdir()
    trained.save(path)
    write_json(
        path / TRAINING,
        {
            "agent": agent, "space": space, "budget": budget, "level": level, "seed": seed,
            "episodes": len(found), "share": trained.share,
            "problems": [[_named(p.model), str(p.weights), _named(p.data)] for p in networks],
            "lessons": [list(task) for task in tasks],
        },
    )  # fmt: skip
    return TrainedPolicy(
        path,
        tuple(value for _, value in found),
        tuple(at for at, _ in found),
        tuple(tasks),
        trained.share,
    )


def budget_range(text: str, n: int) -> list[Budget]:
    """Returns `n` budgets, evenly spread over the logarithm of a range, the largest first.

    Args:
        text: "COST=LEAST..LARGEST", as "size=3%..12%"; or one budget.
        n: how many, at least 1.

    Raises:
        BudgetError: if the text does not read so, or the limits are not shares.
    """
    if not isinstance(text, str):
        raise BudgetError(
            f"A range of budgets must be a text, as size=3%..12%, but got {text!r:.60}."
        )
    name, _, limits = text.partition("=")
    least, dots, largest = limits.partition("..")
    low = Budget.parse(f"{name}={least}")
    high = Budget.parse(f"{name}={largest}") if dots else low
    if not (low.ratio and high.ratio and low.limit <= high.limit) or n < 1:
        raise BudgetError(
            f"A range of budgets must read COST=LEAST..LARGEST in shares, as size=3%..12%, with "
            f"at least one budget, but got {text!r} and {n}."
        )
    if low.limit == high.limit:
        return [low]
    shares = np.geomspace(high.limit, low.limit, max(2, n)).tolist()[:n]
    return [Budget(low.cost, round(share, 6), True) for share in shares]


def _under_budgets(
    network: TrainingNetwork, budgets: Sequence[Budget], agent: str, space: str, seed: int,
    settings: dict[str, Any],
) -> tuple[list[FeasibleSpace], list[FeasibleSpace]]:  # fmt: skip
    """Returns spaces to train on, and some at the budgets between them, which are not."""
    config = SearchConfig.build(
        settings,
        model=_named(network.model), weights=str(network.weights), data=_named(network.data),
        budget=(str(budgets[0]),), space=space, agent=agent, seed=seed, warm_start="none",
    )  # fmt: skip
    setup = SearchSetup.build(config, network.model, network.data, agent, space, (budgets[0],))
    taught, between = [setup.feasible], []
    for before, budget in itertools.pairwise(budgets):
        middle = Budget(budget.cost, round(math.sqrt(before.limit * budget.limit), 6), True)
        try:
            between.append(setup.feasible.under([middle]))
            taught.append(setup.feasible.under([budget]))
        except BudgetError:
            break  # out of reach of this network, as is every tighter one
    return taught, between


def _checked(network: Any) -> TrainingNetwork:
    """Returns a network to train on; a tuple of its fields is taken, too."""
    if isinstance(network, TrainingNetwork):
        return network
    if isinstance(network, tuple) and len(network) in (2, 3):
        return TrainingNetwork(*network)
    raise AgentError(
        f"A policy is trained on networks with their data, but got {network!r:.60}; write "
        "TrainingNetwork(model, data)."
    )


def _named(thing: Any) -> str:
    """Returns a name, or what stands for a Python object."""
    return thing if isinstance(thing, str) else OBJECT


def _folder(out: str | Path | None, agent: str) -> Path:
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-policy-{agent.partition(':')[0]}"
    path = Path("runs") / name if out is None else user_path(out, "out", RunError)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(
                f"Training needs a new or empty folder, but {str(path)!r} is neither; choose "
                "another --out."
            )
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"The folder must be writable, but {str(path)!r} is not ({error.strerror}); choose "
            "another --out."
        ) from None
    return path
