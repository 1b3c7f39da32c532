"""The main job: from a network, data and a budget to a smaller network and its search's trail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import nn

from autocomp.agents import Agent, OnOutcome
from autocomp.budget import Budget, parse_budgets
from autocomp.config import SearchConfig
from autocomp.errors import AutocompError, RunError
from autocomp.job import OBJECT, Job, Result
from autocomp.runs import Run
from autocomp.search_spaces import SearchSpace


def search(
    model: str | nn.Module | Callable[..., nn.Module],
    data: Any,
    budget: str | Budget | Iterable[str | Budget] = "size=10%",
    *,
    agent: str | Agent = "ddpg",
    space: str | SearchSpace = "joint",
    evaluations: int = 100,
    seed: int = 0,
    weights: str | Path = "",
    out: str | Path | None = None,
    on_outcome: OnOutcome | None = None,
    **settings: Any,
) -> Result:
    """Searches how to compress `model` under `budget` and writes a run folder.

    Args:
        model: a trained network, a name of `autocomp models`, "package.module:function", or a
            function that builds it. It is not modified.
        data: what `autocomp.data.load_data` takes: a name, "cifar10:FOLDER", a `DataSplits`, or
            (calibration, search, test) pairs of inputs and labels.
        budget: "size=8%", "size=60kB", or several.
        agent: an agent, or its name and options.
        space: an action space, or its name and options.
        evaluations: how many distinct plans to evaluate.
        seed: makes the search repeatable.
        weights: weights file for a network that is named.
        out: the run folder; `runs/<time>-<name>` by default.
        on_outcome: called after each evaluation.
        **settings: further settings of `SearchConfig`, as `keep=("conv1",)`.

    Raises:
        AutocompError: in one line, for anything wrong with the input; nothing is written then.
    """
    budgets = parse_budgets(budget)
    keep = settings.get("keep", ())
    settings["keep"] = (keep,) if isinstance(keep, str) else tuple(keep)
    try:
        config = SearchConfig(
            model=model if isinstance(model, str) else OBJECT,
            weights=str(weights),
            data=data if isinstance(data, str) else OBJECT,
            budget=tuple(map(str, budgets)),
            space=space if isinstance(space, str) else OBJECT,
            agent=agent if isinstance(agent, str) else OBJECT,
            evaluations=evaluations,
            seed=seed,
            **settings,
        )
    except TypeError as error:
        raise AutocompError(f"A search does not take these settings: {error}.") from None
    job = Job(config, model, data, agent, space, budgets)
    return job.start(None if out is None else Path(out), on_outcome)


def resume(
    run: str | Path,
    *,
    model: nn.Module | Callable[..., nn.Module] | None = None,
    data: Any = None,
    agent: Agent | None = None,
    space: SearchSpace | None = None,
    on_outcome: OnOutcome | None = None,
) -> Result:
    """Continues a run that was stopped, or finishes one again.

    The agent is started anew with the run's seed, and every plan that the run has evaluated is
    answered from its record; so it arrives where it was stopped, learned weights and random state
    included, and goes on from there.

    Args:
        run: the run folder.
        model: the network, if it was given as an object when the run was started.
        data: the data, likewise.
        agent: the agent, likewise.
        space: the action space, likewise.
        on_outcome: called for each outcome, the recorded ones too.

    Raises:
        RunError: if the folder is no run, in use, damaged, or of another network or data.
    """
    opened = Run.open(run)
    values = opened.config()
    config = SearchConfig.from_json(values["settings"])
    given = {"model": model, "data": data, "agent": agent, "space": space}
    parts = {}
    for name, thing in given.items():
        text = getattr(config, name)
        if thing is None and text == OBJECT:
            raise RunError(
                f"The run was started with its {name} given as a Python object; continue it with "
                f"autocomp.searcher.resume({str(run)!r}, {name}=...)."
            )
        parts[name] = text if thing is None else thing
    job = Job(config, **parts, budgets=parse_budgets(config.budget))
    return job.finish(opened, values["fingerprints"], on_outcome)
