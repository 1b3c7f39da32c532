"""The main job: from a network, data and a budget to a smaller network and its search's trail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from autocomp.agents import Agent, OnOutcome
from autocomp.api.session import Result, Session
from autocomp.api.setup import OBJECT, SearchSetup
from autocomp.core.budget import Budget, parse_budgets
from autocomp.errors import AutocompError, RunError
from autocomp.runs.folder import Run
from autocomp.runs.settings import SearchConfig
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
    job = SearchSetup(config, model, data, agent, space, budgets)
    return Session.start(job, None if out is None else Path(out), on_outcome)


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
    opened, job = _job_of("resume", run, model, data, agent, space)
    job.check(opened)
    return Session(job, opened).resume(on_outcome)


def report(
    run: str | Path,
    *,
    baselines: Sequence[str] = (),
    model: nn.Module | Callable[..., nn.Module] | None = None,
    data: Any = None,
    agent: Agent | None = None,
    space: SearchSpace | None = None,
) -> Path:
    """Finds out about a run, finished or not, and writes its `report.html`; returns the path.

    The network is analysed, the best plan's departures from the solver's and its predictions are
    measured, and the learned policy is replayed; `inspection.json` keeps what was found.

    Args:
        run: the run folder.
        baselines: agents to run on the same problem with the same count ("uniform", "random"); kept
            in the folder, so that each is run once.
        model: the network, if it was given as an object when the run was started.
        data: the data, likewise.
        agent: the agent, likewise.
        space: the action space, likewise.

    Raises:
        RunError: if the folder is no run, damaged, or of another network or data.
    """
    opened, job = _job_of("report", run, model, data, agent, space)
    job.check(opened)
    with suppress(RunError), opened.locked():  # a search that is running looks after itself
        opened.repair()
    return Session(job, opened).report(baselines)


def _job_of(
    call: str, run: str | Path, model: Any, data: Any, agent: Agent | None,
    space: SearchSpace | None,
) -> tuple[Run, SearchSetup]:  # fmt: skip
    """Returns a run and its job, built again from its settings."""
    opened = Run.open(run)
    config = SearchConfig.from_json(opened.config()["settings"])
    given = {"model": model, "data": data, "agent": agent, "space": space}
    parts = {}
    for name, thing in given.items():
        text = getattr(config, name)
        if thing is None and text == OBJECT:
            raise RunError(
                f"The run was started with its {name} given as a Python object; give it again, as "
                f"in autocomp.{call}({str(run)!r}, {name}=...)."
            )
        parts[name] = text if thing is None else thing
    return opened, SearchSetup(config, **parts, budgets=parse_budgets(config.budget))
