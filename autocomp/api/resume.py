"""Continuing a run that was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from autocomp.agents import Agent, OnOutcome
from autocomp.api.progress import shown
from autocomp.api.reopen import reopened
from autocomp.api.result import Result
from autocomp.core.budget import Budgets
from autocomp.plugins.border import border
from autocomp.search_spaces import SearchSpace
from autocomp.tasks import Task


@border("autocomp.resume")
def resume(
    run: str | Path,
    *,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    data: Any = None,
    agent: str | Agent | None = None,
    space: str | SearchSpace | None = None,
    task: str | Task | None = None,
    budget: Budgets | None = None,
    trust: bool = False,
    on_outcome: OnOutcome | None = None,
    progress: bool = True,
) -> Result:
    """Continues a run that was stopped, or finishes one again.

    The agent is started anew with the run's seed, and every plan that the run has evaluated is
    answered from its record; so it arrives where it was stopped, learned weights and random state
    included, and goes on from there.

    Args:
        run: the run folder.
        model: the network, if it was given as an object when the run was started, or if the run
            names a function of yours: a folder's text never makes AutoComp import code.
        data: the data, likewise.
        agent: the agent, likewise.
        space: the action space, likewise.
        task: what the network is for, likewise.
        budget: the budgets, if one was given with a cost of its own when the run was started.
        trust: whether the run may name code to import, and files outside of its folder to write:
            yes for a folder that nobody else has made.
        on_outcome: called for each outcome, the recorded ones too.
        progress: whether to show progress in a terminal or a notebook.

    Raises:
        RunError: if the folder is no run, in use, damaged, or of another network or data.
    """
    given: dict[str, Any] = {"model": model, "data": data, "agent": agent, "space": space}
    given |= {"task": task, "budget": budget}
    with reopened("resume", run, given, trust) as session:
        evaluations = session.setup.config.evaluations
        with shown(evaluations, progress, on_outcome) as show:
            return session.resume(show.on_outcome)
