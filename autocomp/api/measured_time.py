"""Making estimates of time agree with a network that was measured, before a search goes by them."""

from __future__ import annotations

import hashlib
import logging

from autocomp.core.fidelity import Fidelity
from autocomp.costs.latency.cost import WHOLE, Latency
from autocomp.exporters.timing import measured_latency
from autocomp.network.as_one import as_one
from autocomp.network.device import dtype_of, of_type
from autocomp.network.rebinding import copy_network
from autocomp.search_spaces import FeasibleSpace, SearchSpace

_LOG = logging.getLogger("autocomp")
ROUNDS = 3
"""Plans that are measured at most."""
_NEAR = 0.02
"""The measured time of a plan that uses its budget is as near as this to the limit."""
_BOUNDS = (WHOLE // 5, WHOLE * 3 // 2)


def with_measured_time(feasible: FeasibleSpace, space: SearchSpace, key: str) -> FeasibleSpace:
    """Returns the space under a latency budget that a measured network of it meets.

    Layers are measured one by one, and what happens between them is not: changes of layout, odd
    counts of channels, sums that become integers. So the plan that the search starts from is built,
    exported and timed; the share of its estimated saving that it really has becomes the share that
    is counted (`Latency.realised`), and that is repeated with the plan that is then best, up to
    `ROUNDS` times. What comes out is kept with the machine's other times, so that a run that is
    resumed goes by the same numbers.

    Args:
        feasible: the space; returned as it is without a latency budget, with a cost
            that cannot be checked here, while the dense network's time scatters by more than
            `_NEAR` of it, or where estimate and measurement agree.
        space: the action space that it was built of.
        key: tells this search from others.

    Raises:
        BudgetError: if no plan meets the budget by what was measured.
    """
    problem = feasible.problem
    latency = problem.costs.get("latency")
    if "latency" not in problem.limits or not isinstance(latency, Latency):
        return feasible
    if not latency.can_be_checked:
        return feasible
    name = f"share of the saving {hashlib.sha256(key.encode()).hexdigest()[:32]}"
    known = latency.table.recalled(name)
    if known is None:
        if latency.noise() > _NEAR * latency.reference:
            return feasible  # for now: it is not kept
        found = _measured(feasible, space, latency)
        known = latency.table.number(name, lambda: found)
    if known == WHOLE:
        latency.realised = WHOLE
        return feasible
    _LOG.info("time: %.0f %% of the layers' estimated saving is counted, as measured", known / 10)
    latency.realised = known
    return FeasibleSpace.build(problem, space)


def _measured(feasible: FeasibleSpace, space: SearchSpace, latency: Latency) -> int:
    """Returns the share of the estimated saving, per mille, at which both agree."""
    problem, now = feasible.problem, feasible
    example = problem.data.example_inputs(1)
    limit = problem.limits["latency"] / latency.reference
    for _ in range(ROUNDS):
        plan = now.plan(now.allocation.starts()[0])
        network, data = problem.compressed(plan, Fidelity.FULL)
        few = of_type(example, dtype_of(network))
        small = as_one(copy_network(network).cpu(), problem.settings.task, few)
        first, second = measured_latency(problem.store.model, small, data, example)
        expected = problem.costs_of(plan)["latency"] / latency.reference
        if abs(second / first / limit - 1) <= _NEAR or expected >= 1 - _NEAR:
            break
        share = latency.realised * (1 - second / first) / (1 - expected)
        latency.realised = min(max(round(share), _BOUNDS[0]), _BOUNDS[1])
        now = FeasibleSpace.build(problem, space)
    return latency.realised
