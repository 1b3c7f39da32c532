"""Best so far and fronts, against their definitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autocomp.core.choice import NEUTRAL
from autocomp.core.outcome import Outcome, best_of
from autocomp.core.plan import Plan
from autocomp.inspection.trajectory import best_so_far, improvements, pareto_front

PLAN = Plan({"a": NEUTRAL})


def outcome(accuracy: float, size: int = 10, within: bool = True, seconds: float = 1.0) -> Outcome:
    return Outcome(PLAN, accuracy, 0.5, 100, {"size": size}, within, "F1", seconds)


OUTCOMES = st.lists(
    st.builds(
        outcome,
        st.sampled_from([0.1, 0.2, 0.3, 0.4]),
        st.integers(1, 6),
        st.booleans(),
        st.sampled_from([0.5, 1.0]),
    ),
    max_size=12,
)


def test_a_trail_by_hand() -> None:
    given_ = [outcome(0.9, within=False), outcome(0.5), outcome(0.4), outcome(0.6, seconds=0.5)]
    trail = best_so_far(given_)
    assert [(p.evaluation, p.seconds, p.best.accuracy) for p in trail] == [
        (2, 2.0, 0.5), (3, 3.0, 0.5), (4, 3.5, 0.6),
    ]  # fmt: skip
    assert [p.evaluation for p in improvements(trail)] == [2, 4]
    assert best_so_far([]) == best_so_far([outcome(1, within=False)]) == ()


@given(OUTCOMES)
def test_a_trail_is_the_best_of_every_beginning(outcomes: list[Outcome]) -> None:
    trail = best_so_far(outcomes)
    points = {point.evaluation: point for point in trail}
    for n in range(1, len(outcomes) + 1):
        expected = best_of(outcomes[:n])
        if expected is None:
            assert n not in points
        else:
            assert points[n].best is expected
            assert points[n].seconds == sum(o.seconds for o in outcomes[:n])
    changed = improvements(trail)
    assert [p.best.rank for p in changed] == sorted({p.best.rank for p in trail})


def test_a_front_by_hand() -> None:
    given_ = [outcome(0.5, 5), outcome(0.4, 6), outcome(0.5, 5), outcome(0.2, 1), outcome(0.9, 9)]
    assert [o.costs["size"] for o in pareto_front(given_)] == [1, 5, 9]
    assert pareto_front(given_)[1] is given_[0]
    assert pareto_front(given_, "macs") == pareto_front([]) == ()


@given(OUTCOMES)
def test_a_front_undercuts_everything_else(outcomes: list[Outcome]) -> None:
    front = pareto_front(outcomes)
    for one, other in zip(front, front[1:], strict=False):
        assert one.costs["size"] < other.costs["size"] and one.accuracy < other.accuracy
    for o in outcomes:
        assert any(f.costs["size"] <= o.costs["size"] and f.accuracy >= o.accuracy for f in front)
    assert all(any(f is o for o in outcomes) for f in front)
