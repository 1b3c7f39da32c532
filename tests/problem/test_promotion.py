"""The race for the whole split, and the paired comparison that it rests on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autocomp.core.choice import Choice
from autocomp.core.outcome import Outcome, best_of
from autocomp.core.plan import Plan
from autocomp.data import DataSplits
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.problem.promotion import promote
from autocomp.tasks.paired import is_behind


def outcome(plan: Plan, accuracy: float, *, fidelity: str = "F1", within: bool = True) -> Outcome:
    return Outcome(plan, accuracy, 1.0, 100, {"size": 1}, within, fidelity, 0.1)


class Scorer:
    """Stands for a problem: plan "k" has accuracy k / 100 on the whole split."""

    def __init__(self, behind: float = 0.05) -> None:
        self.behind = behind
        self.evaluated: list[int] = []
        self.challenged: list[tuple[int, int]] = []

    def evaluate(self, plan: Plan, fidelity: str) -> Outcome:
        assert fidelity == "F2"
        self.evaluated.append(number(plan))
        return outcome(plan, number(plan) / 100, fidelity="F2")

    def challenge(self, plan: Plan, best: Plan, fidelity: str) -> Outcome | None:
        assert fidelity == "F2"
        self.challenged.append((number(plan), number(best)))
        if number(best) - number(plan) > 100 * self.behind:
            return None
        return outcome(plan, number(plan) / 100, fidelity="F2")


def plan(k: int) -> Plan:
    return Plan({"a": Choice.of(sparsity=k / 1000)})


def number(plan: Plan) -> int:
    return round(plan["a"].weights.sparsity * 1000)


def test_by_rank_against_the_best_so_far() -> None:
    judge: Any = Scorer()
    screened = [outcome(plan(k), a) for k, a in ((70, 0.9), (80, 0.8), (60, 0.7), (78, 0.6))]
    seen: list[Outcome] = []
    whole = promote(judge, screened, 3, on_outcome=seen.append)
    assert judge.evaluated == [70]
    # 60 is given up; its place goes to the next
    assert judge.challenged == [(80, 70), (60, 80), (78, 80)]
    assert [number(o.plan) for o in whole] == [70, 80, 78] and seen == whole


def test_some_plans_run_in_any_case() -> None:
    judge: Any = Scorer()
    screened = [
        outcome(plan(70), 0.9),
        outcome(plan(10), 0.1),
        outcome(plan(99), 1.0, within=False),
    ]
    whole = promote(judge, screened, 1, always=[plan(10)])
    assert [number(o.plan) for o in whole] == [10, 70] and not judge.challenged


def test_at_most_so_many_enter() -> None:
    judge: Any = Scorer(behind=-1)  # everything is given up
    promote(judge, [outcome(plan(k), k / 100) for k in range(1, 60)], 4)
    assert len(judge.challenged) == 11 and judge.evaluated == [59]


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 3))
def test_behind_is_one_sided(values: list[bool], seed: int) -> None:
    best = torch.tensor(values).double()
    assert not is_behind(best, best)
    generator = torch.Generator().manual_seed(seed)
    other = best[torch.randperm(len(best), generator=generator)]
    assert not (is_behind(other, best) and is_behind(best, other))
    assert not is_behind(torch.ones_like(best), best)


def test_behind_by_hand() -> None:
    """a - b > 2.4 sqrt(a + b): 6 against 0 is significant, 5 against 0 is not."""
    best = torch.ones(10)
    for lost, behind in ((0, False), (5, False), (6, True), (10, True)):
        right = best.clone()
        right[:lost] = 0
        assert is_behind(right, best) is behind


@pytest.fixture
def batched(tiny_net: nn.Module, tiny_data: DataSplits) -> CompressionProblem:
    return CompressionProblem(
        tiny_net, tiny_data, "size=90%", ProblemSettings(search_images=40, batch_size=20)
    )


def test_a_challenger_that_falls_behind_is_given_up(batched: CompressionProblem) -> None:
    neutral = batched.network.neutral_plan()
    names = batched.network.names
    fine = neutral.replace(names[0], Choice.of(weight_bits=8))
    bad = Plan({name: Choice.of(sparsity=0.98, weight_bits=2) for name in names})
    assert batched.challenge(bad, neutral) is None
    assert not batched.known(bad, "F2")
    found = batched.challenge(fine, neutral)
    assert found is not None and found == batched.evaluate(fine, "F2") and found.n == 120
    # what was not given up is what evaluate gives
    other = CompressionProblem(batched.store.model, batched.data, "size=90%", batched.settings)
    again = other.evaluate(fine, "F2")
    assert (again.accuracy, again.loss, again.divergence) == (
        found.accuracy, found.loss, found.divergence,
    )  # fmt: skip


def test_divergence_gap_and_merit(batched: CompressionProblem) -> None:
    neutral = batched.network.neutral_plan()
    dense = batched.evaluate(neutral)
    assert dense.divergence == pytest.approx(0, abs=1e-6)
    assert dense.merit == pytest.approx(0, abs=1e-5)
    names = batched.network.names
    plans = [neutral.replace(names[2], Choice.of(weight_bits=b)) for b in (8, 4, 2)]
    found = [batched.evaluate(p) for p in plans]
    assert found[0].divergence < found[1].divergence < found[2].divergence
    for one in found:
        pair = batched.outputs(one.plan, "F1")
        gap = batched.settings.task.gap(pair.compressed, pair.dense).double().mean()
        assert one.gap == pytest.approx(float(gap), rel=1e-4, abs=1e-8)
        assert one.rank == (True, -one.gap, one.quality, -one.loss)
    whole = batched.evaluate(plans[0], "F2")
    pair = batched.outputs(plans[0], "F2")
    search = batched.data.search
    labels = search.labels
    assert labels is not None
    proposed = set(search.drawn(batched.settings.search_images, 0).tolist())
    others = [i for i in range(len(search)) if i not in proposed]
    right = pair.compressed.argmax(1) == labels
    assert whole.accuracy == pytest.approx(float(right.double().mean()))
    assert whole.rank[1] == whole.held_out == pytest.approx(float(right[others].double().mean()))
    assert found[0].held_out is None


@pytest.mark.parametrize(("few", "held_out"), [(90, True), (91, False), (119, False)])
def test_few_samples_choose_no_finalist(
    batched: CompressionProblem, few: int, held_out: bool
) -> None:
    """Of 120, a quarter must be left."""
    settings = ProblemSettings(search_images=few)
    problem = CompressionProblem(batched.store.model, batched.data, "size=90%", settings)
    found = problem.evaluate(problem.network.neutral_plan(), "F2")
    assert (found.held_out is not None) is held_out


def test_finalists_are_compared_where_plans_were_not_proposed(batched: CompressionProblem) -> None:
    """A plan that is right on F1's images alone does not win."""
    plan = batched.network.neutral_plan()
    whole = batched.evaluate(plan, "F2")
    lucky = replace(whole, quality=0.99, held_out=0.5, within_budget=True)
    sound = replace(whole, quality=0.9, held_out=0.6, within_budget=True)
    assert best_of([lucky, sound]) is sound
