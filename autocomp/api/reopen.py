"""A run's search, built again from its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autocomp.api.session import Session
from autocomp.api.setup import OBJECT, SearchSetup
from autocomp.core.budget import Budget, parse_budgets
from autocomp.errors import RunError
from autocomp.network.threads import torch_threads
from autocomp.runs.folder import Run
from autocomp.runs.settings import SearchConfig
from autocomp.runs.trust import confined, refuse_code

_PARTS = ("model", "data", "agent", "space", "task")
_CHOSEN = ("agent", "space", "task")
"""What no fingerprint tells apart."""


@contextmanager
def reopened(
    call: str, run: str | Path, given: Mapping[str, Any], trust: bool = False,
    model: str = "model",
) -> Iterator[Session]:  # fmt: skip
    """Yields the session of a run, its parts built again, under its number of threads.

    Args:
        call: the function of `autocomp` that was called, for messages.
        run: the run folder.
        given: model, data, agent, space and budget, where they are given; else None.
        trust: whether the run may name code, and files outside of its folder.
        model: what the call's argument for the network is called.

    Raises:
        RunError: if the folder is no run, damaged, or of another network or data, or a part that
            was given as an object is not given again; or if it names code and is not trusted.
    """
    opened = Run.open(run)
    settings = opened.config()["settings"]
    config = SearchConfig.from_json(settings)
    for name in _CHOSEN:
        if given.get(name) not in (None, settings.get(name)) and settings.get(name) != OBJECT:
            raise RunError(
                f"The run must go on with its own {name}, {settings.get(name)!r}; leave {name}= "
                "out, or start a new search."
            )
    if not trust:
        refuse_code(config, given, f"autocomp.{call}", {"model": model})
        config = confined(config)
        settings = {**settings, "agent": config.agent}
    parts = {}
    for name in _PARTS:
        thing = given.get(name)
        if thing is None and settings.get(name) == OBJECT:
            raise RunError(
                f"The run was started with its {name} given as a Python object; give it again, as "
                f"in autocomp.{call}({str(run)!r}, {model if name == 'model' else name}=...)."
            )
        parts[name] = settings.get(name) if thing is None else thing
    named = "size" if call == "finetune" else "budget"
    budgets = _budgets(config, given.get("budget"), named)
    with torch_threads(config.threads):
        setup = SearchSetup.build(config, **parts, budgets=budgets)
        setup.check(opened)
        _check_metric(setup, opened)
        yield Session(setup, opened)


def _check_metric(setup: SearchSetup, run: Run) -> None:
    """Raises RunError if a run's figures are of another metric than its task now has."""
    recorded = {outcome.metric.name for outcome in run.outcomes()}
    own = setup.problem.settings.task.metric.name
    if recorded - {own}:
        raise RunError(
            f"The run must go on with its own task, whose metric is {sorted(recorded)[0]}, but the "
            f"one that is given has {own}; give the task that the run was started with."
        )


def _budgets(config: SearchConfig, given: Any, named: str) -> tuple[Budget, ...]:
    """Returns the run's budgets; those that are given must be these, with costs of their own.

    `named` is what the caller calls them.
    """
    if given is None:
        return parse_budgets(config.budget)
    budgets = parse_budgets(given)
    if tuple(map(str, budgets)) != tuple(config.budget):
        raise RunError(
            f"The run must go on with its own budget, {', '.join(config.budget)}, but got "
            f"{', '.join(map(str, budgets))}; leave {named}= out, or start a new search."
        )
    return budgets
