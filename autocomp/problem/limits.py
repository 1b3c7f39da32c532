"""What a network costs beside its layers, and budgets that are out of reach."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from autocomp.costs import fixed_cost
from autocomp.costs.latency.cost import Latency
from autocomp.errors import BudgetError
from autocomp.problem.stated import Menus, StatedProblem


def fixed_costs(problem: StatedProblem, menus: Menus) -> NDArray[np.int64]:
    """Returns, per budget, what the network costs beside its layers under these choices.

    Biases and statistics take 16 bits once a layer is quantized; when a plan may quantize none,
    the dearer of the two is charged.
    """
    quantized = any(all(c.weights.bits < 32 for c in menu) for menu in menus)
    sides = [16] if quantized else [16, 32]
    costs = [problem.costs[budget.cost] for budget in problem.budgets]
    return np.array([max(fixed_cost(cost, bits) for bits in sides) for cost in costs], np.int64)


_LATENCY = (
    ". Zeros and bits of weights alone change no time; `structured`, `full` and `rank` do, and "
    "`bits:activation_bits=8/32` may"
)


def _whole(problem: StatedProblem) -> str:
    """Returns why no layer can lose channels; "" where one can."""
    pruning = problem.subnets.pruning
    if pruning.groups:
        return ""
    told = [f"{name!r} ({why})" for name, why in list(pruning.skipped.items())[:2]]
    recurrent = [x.name for x in problem.network.layers if x.kind == "recurrent"]
    if recurrent:
        told.insert(0, f"{recurrent[0]!r} (recurrent layers lose no hidden units)")
    return f". No layer can lose channels: {', '.join(told)}" if told else ""


def _reason(problem: StatedProblem, name: str, least: int, structural: bool) -> str:
    """Returns what keeps a cost up, where that is not the layers' least choices; "" else."""
    whole = _whole(problem) if structural and name != "size" else ""
    if whole:
        return whole
    if name == "latency" and least >= problem.costs[name].reference:
        return _LATENCY
    network = problem.network
    if name in ("macs", "bitops") and network.other_macs:
        cost = problem.costs[name]
        return (
            f". Of that, {cost.fixed(32):,} {cost.unit} stay in every plan: products of "
            "activations, recurrent layers, computed weights and what is to be kept"
        )
    dense = [(x.parameter, x.n_weights) for x in network.frozen]
    dense += [(x, problem.store.model.get_parameter(x).numel()) for x in network.unsupported]
    if name not in ("size", "params") or not dense:
        return ""
    largest, count = max(dense, key=lambda pair: pair[1])
    return (
        f". Of that, {sum(n for _, n in dense):,} numbers stay dense, because no compressor knows "
        "them, the forward pass does not read them or they are to be kept: "
        f"{largest!r} with {count:,} is the largest"
    )


def out_of_reach(
    problem: StatedProblem, least: NDArray[np.int64], structural: bool = False
) -> BudgetError:
    """Returns the error for budgets out of reach.

    Args:
        problem: the problem.
        least: what is reached, per budget.
        structural: whether the space takes channels or ranks away.
    """
    names = [budget.cost for budget in problem.budgets]
    for name, value in zip(names, least.tolist(), strict=True):
        if value > problem.limits[name]:
            cost = problem.costs[name]
            reason = _reason(problem, name, value, structural)
            share = math.ceil(value / cost.reference * 10_000) / 10_000  # within reach, too
            return BudgetError(
                f"The budget must be within reach, but {name} <= {problem.limits[name]:,} "
                f"{cost.unit} is not: this search space reaches {value:,} {cost.unit} at least "
                f"({name}={share:.2%}){reason}; raise the budget or widen the space."
            )
    return BudgetError(
        f"The budgets {', '.join(map(str, problem.budgets))} must hold together, but no plan of "
        "this search space was found to meet all of them; raise one."
    )


def check_noise(problem: StatedProblem) -> None:
    """Raises BudgetError if a latency budget saves less than measurements differ by, just now."""
    for name, limit in problem.limits.items():
        cost = problem.costs[name]
        if isinstance(cost, Latency):
            saved = cost.reference - limit
            noise = cost.noise()
            if 0 < saved < noise:
                raise BudgetError(
                    f"A latency budget must save more than this machine's noise, but {name} <= "
                    f"{limit:,} ns saves {saved:,} of {cost.reference:,} ns, and measurements of "
                    f"the dense network differ by {noise:,} ns; lower it, stop other programs, or "
                    "budget macs."
                )
