from __future__ import annotations

import random
import re

import pytest
from torch import Tensor, nn

from autocomp.core.budget import Budget
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.plan import Plan
from autocomp.costs import total
from autocomp.data.splits import DataSplits
from autocomp.errors import BudgetError, UnknownNameError
from autocomp.problem.problem import CompressionProblem
from tests.problem.plans import MENU, plan_of, random_plan


def test_within_is_what_the_costs_say(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    budgets = ["size=40%", "macs=70%", Budget("params", 4000, False), "bitops=30M"]
    problem = CompressionProblem(tiny_net, tiny_data, budgets)
    assert problem.limits == {
        "size": int(0.4 * problem.costs["size"].reference),
        "macs": int(0.7 * 111_104), "params": 4000, "bitops": 30_000_000,
    }  # fmt: skip
    rng = random.Random(0)
    seen = set()
    for plan in [random_plan(problem, rng) for _ in range(30)]:
        costs = problem.costs_of(plan)
        assert costs == {n: total(c, problem.network, plan) for n, c in problem.costs.items()}
        within = all(costs[name] <= limit for name, limit in problem.limits.items())
        assert problem.is_within(plan) == within
        outcome = problem.evaluate(plan)
        assert outcome.within_budget == within and outcome.costs == costs
        seen.add(within)
    assert seen == {True, False}


def test_a_limit_is_met_exactly_or_not(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    plan = Plan(
        {"0": Choice.of(sparsity=0.5), "3": NEUTRAL, "6": Choice.of(sparsity=0.25), "10": NEUTRAL}
    )
    params = 5796 - 216 - 1152
    for limit, within in [(params, True), (params - 1, False)]:
        problem = CompressionProblem(tiny_net, tiny_data, f"params={limit}")
        assert problem.is_within(plan) == problem.evaluate(plan).within_budget == within


@pytest.mark.parametrize("budgets", ["size=30%", "size=40%,bitops=12%", "size=25%,macs=60%"])
def test_feasible_choices_end_in_a_file_that_fits(
    digits_model: nn.Module, digits_data: DataSplits, budgets: str
) -> None:
    problem = CompressionProblem(digits_model, digits_data, budgets)
    names = problem.network.names
    menus = [MENU for _ in names]
    searched = problem.allocation(menus)
    rng = random.Random(0)
    for _ in range(6):
        indices: list[int] = []
        for _ in names:
            indices.append(rng.choice(searched.mask(indices).nonzero()[0].tolist()))
        found = Plan(dict(zip(names, (MENU[i] for i in indices), strict=True)))
        assert problem.is_within(found)
        _, data = problem.compressed(found)
        assert len(data) <= problem.costs_of(found)["size"] <= problem.limits["size"]


def test_the_smallest_budget_in_reach(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    menus = [[Choice.of(sparsity=0.9, weight_bits=2), Choice.of(weight_bits=8)] for _ in range(4)]
    for cost in ("size", "params", "bitops"):
        with pytest.raises(BudgetError, match=f"{cost} <= .* is not.*raise the budget") as caught:
            CompressionProblem(tiny_net, tiny_data, f"{cost}=0.1%").allocation(menus)
        message = str(caught.value)
        assert "\n" not in message
        reached = re.search(r"reaches ([\d,]+) (\w+) at least \((\w+=[\d.]+%)\)", message)
        assert reached, message
        value = int(reached[1].replace(",", ""))
        assert CompressionProblem(tiny_net, tiny_data, reached[3]).allocation(menus).possible
        problem = CompressionProblem(tiny_net, tiny_data, f"{cost}={value}")
        searched = problem.allocation(menus)
        mask = searched.mask(())
        assert mask.tolist() == [True, False]
        cheapest = plan_of(problem, menus[0][0])
        assert problem.is_within(cheapest) and problem.costs_of(cheapest)[cost] == value
        with pytest.raises(BudgetError, match=f"{value:,}"):
            CompressionProblem(tiny_net, tiny_data, f"{cost}={value - 1}").allocation(menus)


def test_the_smallest_budget_when_nothing_need_be_quantized(
    tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    """Side tensors may then take 32 bits; that is charged, so the file fits in either case."""
    menus = [[NEUTRAL, Choice.of(sparsity=0.9)] for _ in range(4)]
    with pytest.raises(BudgetError) as caught:
        CompressionProblem(tiny_net, tiny_data, "size=1%").allocation(menus)
    reached = re.search(r"reaches ([\d,]+) bytes", str(caught.value))
    assert reached
    value = int(reached[1].replace(",", ""))
    problem = CompressionProblem(tiny_net, tiny_data, f"size={value}")
    assert problem.allocation(menus).possible
    cheapest = plan_of(problem, Choice.of(sparsity=0.9))
    assert problem.is_within(cheapest) and len(problem.compressed(cheapest)[1]) <= value
    with pytest.raises(BudgetError):
        CompressionProblem(tiny_net, tiny_data, f"size={value - 1}").allocation(menus)


def test_budgets_that_do_not_go_together(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    menus = [
        [Choice.of(sparsity=0.9), Choice.of(sparsity=0.5, weight_bits=2, activation_bits=2)]
        for _ in range(4)
    ]
    problem = CompressionProblem(tiny_net, tiny_data, "params=20%,bitops=1.5M")
    with pytest.raises(BudgetError, match="must hold together, but no plan .* to meet all of them"):
        problem.allocation(menus)
    for alone in ("params=20%", "bitops=1.5M"):
        assert CompressionProblem(tiny_net, tiny_data, alone).allocation(menus).possible


def test_an_unknown_cost(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    with pytest.raises(UnknownNameError, match="no cost named 'sise'. Did you mean 'size'"):
        CompressionProblem(tiny_net, tiny_data, "sise=5%")


class Attending(nn.Module):
    """Sixteen patches of four channels that look at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.last = nn.Conv2d(3, 4, 2, 2), nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.attention(x, x, x, need_weights=False)[0]
        return self.last(x.mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("cost", "times"), [("macs", 1), ("bitops", 1024)])
def test_products_that_no_plan_changes_are_named(
    tiny_data: DataSplits, cost: str, times: int
) -> None:
    products = 2 * 16 * 16 * 4
    model = Attending().eval()
    problem = CompressionProblem(model, tiny_data, f"{cost}=90%")
    layers = sum(layer.macs for layer in problem.network.layers)
    assert problem.costs[cost].reference == times * (layers + products)
    half = plan_of(problem, Choice.of(sparsity=0.5))
    assert problem.costs_of(half)[cost] == times * (layers // 2 + products)
    menus = [[Choice.of(sparsity=0.9), NEUTRAL]] * 4
    with pytest.raises(BudgetError, match=f"Of that, {times * products:,} .* stay in every plan"):
        CompressionProblem(model, tiny_data, f"{cost}=1%").allocation(menus)
