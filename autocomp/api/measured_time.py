"""Making estimates of time agree with a network that was measured, before a search goes by them."""

from __future__ import annotations

import hashlib
import logging

from torch import nn

from autocomp.core.fidelity import Fidelity
from autocomp.core.plan import Plan
from autocomp.costs.latency.cost import WHOLE, Latency
from autocomp.errors import BudgetError
from autocomp.exporters.timing import measured_latency
from autocomp.network.as_one import as_one
from autocomp.network.device import dtype_of, of_type
from autocomp.network.rebinding import copy_network
from autocomp.problem.problem import CompressionProblem
from autocomp.search_spaces import FeasibleSpace, SearchSpace

_LOG = logging.getLogger("autocomp")
ROUNDS = 6
"""Plans that are measured at most."""
_NEAR = 0.02
"""The measured time of a plan that uses its budget is as near as this to the limit."""
_BOUNDS = (WHOLE // 2, WHOLE * 4)
_STEP = 1.1


def with_measured_time(feasible: FeasibleSpace, space: SearchSpace, key: str) -> FeasibleSpace:
    """Returns the space under a latency budget that a measured network of it meets.

    Layers are measured one by one, and what happens between them is not: changes of layout, odd
    counts of channels, sums that become integers. So the plan that the search starts from is built,
    exported and timed; what it took of its estimate becomes `Latency.slowness`, and that is
    repeated with the plan that is then the start, up to `ROUNDS` times. Of those measured the one
    counts that comes nearest to the limit from below: where half of the layers in integers take
    longer than all of them, no factor makes estimate and measurement agree. What comes out is kept
    with the machine's other times, so that a run that is resumed goes by the same numbers.

    Args:
        feasible: the space; returned as it is without a latency budget, with a cost that cannot be
            checked here, while the dense network's time scatters by more than `_NEAR` of it, or
            where estimate and measurement agree.
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
    name = f"slowness {hashlib.sha256(key.encode()).hexdigest()[:32]}"
    known = latency.table.recalled(name)
    if known is None:
        if latency.noise() > _NEAR * latency.reference:
            return feasible  # for now: it is not kept
        found = _measured(feasible, space, latency)
        known = latency.table.number(name, lambda: found)
    latency.slowness = known
    if known == WHOLE:
        return feasible
    _LOG.info("time: networks take %.2f times what their layers do, as measured", known / WHOLE)
    return FeasibleSpace.build(problem, space)


def _measured(feasible: FeasibleSpace, space: SearchSpace, latency: Latency) -> int:
    """Returns the slowness, per mille, at which the start meets its limit as it is measured."""
    problem, now = feasible.problem, feasible
    limit = problem.limits["latency"] / latency.reference
    rest = latency.fixed(16) / latency.reference  # what is no layer takes what it takes
    tried: dict[str, tuple[float, int]] = {}  # plan -> its measured share, the slowness
    reached = latency.slowness
    for _ in range(3 * ROUNDS):
        plan = now.plan(now.allocation.starts()[0])
        reached = latency.slowness
        if plan.key not in tried:
            if len(tried) == ROUNDS:
                break
            share = _share(problem, plan)
            tried[plan.key] = share, reached
            if abs(share / limit - 1) <= _NEAR:
                return reached
            expected = problem.costs_of(plan)["latency"] / latency.reference
            wanted = round(reached * (share - rest) / max(expected - rest, 1e-9))
        elif tried[plan.key][0] > limit * (1 + _NEAR):
            wanted = round(reached * _STEP)  # one that is too slow again
        else:
            break
        for _ in range(ROUNDS):  # towards what can be reached
            latency.slowness = min(max(wanted, _BOUNDS[0]), _BOUNDS[1])
            try:
                now = FeasibleSpace.build(problem, space)
                break
            except BudgetError:
                wanted = (wanted + reached) // 2
    below = [x for x in tried.values() if x[0] <= limit * (1 + _NEAR)]
    if below:
        return max(below)[1]
    # none does: by what the last one took the budget may be out of reach, which is then said
    return min(max(round(reached * min(tried.values())[0] / limit), _BOUNDS[0]), _BOUNDS[1])


def timed(problem: CompressionProblem, network: nn.Module, data: bytes) -> tuple[int, int]:
    """Returns the nanoseconds of one input in the dense network, and in a compressed one.

    Args:
        problem: holds the dense network, the data and the task.
        network: the compressed network; not modified.
        data: its file.
    """
    example = problem.data.example_inputs(1)
    few = of_type(example, dtype_of(network))
    small = as_one(copy_network(network).cpu(), problem.settings.task, few)
    return measured_latency(problem.store.model, small, data, example)


def _share(problem: CompressionProblem, plan: Plan) -> float:
    """Returns a plan's measured time, as a share of the dense network's."""
    dense, compressed = timed(problem, *problem.compressed(plan, Fidelity.FULL))
    return compressed / dense
