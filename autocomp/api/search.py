"""The main job: from a network, data and a budget to a smaller network and its search's trail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from autocomp.agents import Agent, OnOutcome
from autocomp.api.progress import shown
from autocomp.api.result import Result
from autocomp.api.session import Session
from autocomp.api.setup import OBJECT, SearchSetup
from autocomp.core.budget import Budgets, parse_budgets
from autocomp.errors import RunError
from autocomp.network.threads import torch_threads
from autocomp.plugins.border import border
from autocomp.problem.limits import check_noise
from autocomp.runs.settings import SearchConfig
from autocomp.search_spaces import SearchSpace
from autocomp.storage.paths import user_path
from autocomp.tasks import Task


@border("autocomp.search")
def search(
    model: str | nn.Module | Callable[..., nn.Module],
    data: Any,
    budget: Budgets = "size=10%",
    *,
    task: str | Task = "classification",
    agent: str | Agent = "ddpg",
    space: str | SearchSpace = "joint",
    evaluations: int = 100,
    seed: int = 0,
    weights: str | Path | None = "",
    out: str | Path | None = None,
    on_outcome: OnOutcome | None = None,
    progress: bool = True,
    **settings: Any,
) -> Result:
    """Searches how to compress `model` under `budget` and writes a run folder.

    Args:
        model: a trained network, a name of `autocomp models`, "package.module:function", or a
            function that builds it. It is not modified.
        data: what `autocomp.data.load_data` takes: a name, "cifar10:FOLDER", a `DataSplits`, or
            (calibration, search, test) pairs of inputs and labels, or inputs alone. "none" (or
            "none:shape=3x224x224") makes inputs out of the network's batch norms; figures are then
            the agreement with the dense network.
        task: what the network is for: a task, or its name and options ("regression:metric=rmse").
        budget: "size=8%", "size=60kB", or several.
        agent: an agent, or its name and options.
        space: an action space, or its name and options.
        evaluations: how many distinct plans to evaluate.
        seed: makes the search repeatable.
        weights: weights file for a network that is named.
        out: the run folder; `runs/<time>-<name>` by default.
        on_outcome: called after each evaluation.
        progress: whether to show progress in a terminal or a notebook.
        **settings: further settings of `SearchConfig`, as `keep=("conv1",)`.

    Raises:
        AutocompError: in one line, for anything wrong with the input; nothing is written then.
    """
    folder = None if out is None else user_path(out, "out", RunError)
    budgets = parse_budgets(budget)
    config = SearchConfig.build(
        settings,
        model=model if isinstance(model, str) else OBJECT,
        weights="" if weights is None else str(weights),
        data=data if isinstance(data, str) else OBJECT,
        task=task if isinstance(task, str) else OBJECT,
        budget=tuple(map(str, budgets)),
        space=space if isinstance(space, str) else OBJECT,
        agent=agent if isinstance(agent, str) else OBJECT,
        evaluations=evaluations,
        seed=seed,
    )
    with torch_threads(config.threads), shown(evaluations, progress, on_outcome) as show:
        setup = SearchSetup.build(
            config, model, data, agent, space, budgets, show.on_stage,
            None if isinstance(task, str) else task,
        )  # fmt: skip
        check_noise(setup.problem)
        return Session.start(setup, folder, show.on_outcome)
