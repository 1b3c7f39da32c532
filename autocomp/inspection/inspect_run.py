"""Finding out about a run: its plan, its solver's view, its predictions, and what was learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from autocomp.agents import Agent
from autocomp.agents.learned_multipliers import LearnedMultipliers
from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome
from autocomp.inspection.ablation import MOST, ablations, differing_layers
from autocomp.inspection.curve import error_curves
from autocomp.inspection.findings import Findings
from autocomp.inspection.layer_multiplier import layer_multipliers
from autocomp.inspection.policy import PolicyPicture
from autocomp.inspection.predictions import compare_predictions
from autocomp.inspection.price import prices
from autocomp.inspection.replay import PolicyReplay
from autocomp.inspection.study import StudyPicture, study_picture
from autocomp.plugins.imports import describe
from autocomp.runs.layer_result import layer_results
from autocomp.search_spaces import FeasibleSpace

T = TypeVar("T")


def inspect_run(feasible: FeasibleSpace, agent: Agent, best: Outcome, folder: Path) -> Findings:
    """Returns what can be found out about a run.

    Takes an evaluation for each layer whose choice departs from the exact solver's (at most
    `ablation.MOST`), and two passes over the search split. A part that fails is left out with the
    reason: a report must not cost the result that it is about.

    Args:
        feasible: the run's feasible space.
        agent: the run's agent.
        best: the outcome of the plan that is looked at.
        folder: the run folder, for what the agent has left there.
    """
    problem, plan = feasible.problem, best.plan
    left_out: dict[str, str] = {}
    nothing: tuple[Any, ...] = ()

    def part(name: str, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except Exception as error:  # one part that fails must not cost the others
            left_out[name] = describe(error)
            return otherwise

    curves = part("curves", lambda: error_curves(feasible, feasible.indices(plan)), nothing)
    moved = part("ablations", lambda: ablations(feasible, plan), nothing)
    if not moved and "ablations" not in left_out:
        left_out["ablations"] = "the plan is the exact solver's own"
    elif len(moved) == MOST and len(differing_layers(feasible, plan)) > MOST:
        left_out["ablations"] = f"the {MOST} layers of largest estimated difference are measured"
    budget = problem.budgets[0]
    # predictions are of the whole split, also where a run that was stopped has no finalist
    whole = Fidelity.FULL if best.fidelity is Fidelity.SCREEN else best.fidelity
    return Findings(
        plan=plan.key,
        fidelity=best.fidelity,
        cost=budget.cost,
        unit=problem.costs[budget.cost].unit,
        layers=part("layers", lambda: layer_results(problem, plan, best.fidelity), nothing),
        curves=curves,
        prices=part("prices", lambda: prices(curves), nothing),
        ablations=moved,
        predictions=part(
            "predictions",
            lambda: compare_predictions(problem.data.search, *problem.outputs(plan, whole)),
            None,
        )
        if problem.settings.task.name == "classification"
        else None,
        policy=part("policy", lambda: _policy(feasible, agent, folder), None),
        study=part("study", lambda: _study(agent, folder), None),
        multipliers=part(
            "multipliers", lambda: layer_multipliers(LearnedMultipliers.of_run(folder)), nothing
        ),
        left_out=left_out,
        metric=best.metric,
    )


def _policy(feasible: FeasibleSpace, agent: Agent, folder: Path) -> PolicyPicture | None:
    learned = agent.learned_policy(folder, feasible)
    return None if learned is None else PolicyReplay(learned, feasible).picture(folder)


def _study(agent: Agent, folder: Path) -> StudyPicture | None:
    found = agent.study(folder)
    return None if found is None else study_picture(*found)
