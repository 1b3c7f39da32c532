"""Finding out about a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from autocomp.agents import Agent
from autocomp.api.reopen import reopened
from autocomp.core.budget import Budgets
from autocomp.errors import RunError
from autocomp.plugins.border import border
from autocomp.search_spaces import SearchSpace
from autocomp.tasks import Task


@border("autocomp.report")
def report(
    run: str | Path,
    *,
    baselines: Sequence[str] = (),
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    data: Any = None,
    agent: str | Agent | None = None,
    space: str | SearchSpace | None = None,
    task: str | Task | None = None,
    budget: Budgets | None = None,
    trust: bool = False,
) -> Path:
    """Finds out about a run, finished or not, and writes its `report.html`; returns the path.

    The network is analysed, the best plan's differences from the solver's plan and its predictions
    are measured, and the learned policy is replayed; `inspection.json` keeps what was found.

    Args:
        run: the run folder.
        baselines: agents to run on the same problem with the same count ("uniform", "random"); kept
            in the folder, so that each is run once.
        model: the network, if it was given as an object when the run was started, or if the run
            names a function of yours: a folder's text never makes AutoComp import code.
        data: the data, likewise.
        agent: the agent, likewise.
        space: the action space, likewise.
        task: what the network is for, likewise.
        budget: the budgets, if one was given with a cost of its own when the run was started.
        trust: whether the run may name code to import, and files outside of its folder to write:
            yes for a folder that nobody else has made.

    Raises:
        RunError: if the folder is no run, damaged, or of another network or data.
    """
    given: dict[str, Any] = {"model": model, "data": data, "agent": agent, "space": space}
    given |= {"task": task, "budget": budget}
    with reopened("report", run, given, trust) as session:
        with suppress(RunError), session.run.locked():  # a running search looks after itself
            session.run.repair()
        return session.report(baselines)
