"""Levels against a short training: Kendall's tau over the plans that both have judged."""

from __future__ import annotations

import pytest

from autocomp.core.choice import Choice
from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.inspection.agreement import agreements


def _outcome(sparsity: float, level: Fidelity, quality: float, seconds: float = 2.0) -> Outcome:
    plan = Plan({"a": Choice.of(sparsity=sparsity)})
    return Outcome(plan, quality, 0.1, 100, {"size": 10}, True, level, seconds)


def test_tau_by_hand() -> None:
    qualities = {0.1: (0.5, 0.7), 0.2: (0.6, 0.8), 0.3: (0.7, 0.6), 0.4: (0.8, 0.9)}
    outcomes = [
        outcome
        for sparsity, (full, tuned) in qualities.items()
        for outcome in (
            _outcome(sparsity, Fidelity.FULL, full), _outcome(sparsity, Fidelity.TUNED, tuned, 9.0),
        )
    ]  # fmt: skip
    outcomes.append(_outcome(0.9, Fidelity.FULL, 0.1))  # not trained: not compared
    outcomes += [_outcome(s, Fidelity.RECONSTRUCTED, 0.5) for s in (0.1, 0.2)]  # too few
    (found,) = agreements(outcomes)
    # pairs: 4 in one order, 2 in the other
    assert (found.level, found.n, found.seconds) == (Fidelity.FULL, 4, 2.0)
    assert found.tau == pytest.approx((4 - 2) / 6)


def test_nothing_to_compare() -> None:
    assert agreements([]) == ()
    alike = [_outcome(s, level, 0.5) for s in (0.1, 0.2, 0.3)
             for level in (Fidelity.FULL, Fidelity.TUNED)]  # fmt: skip
    assert agreements(alike) == ()
