from __future__ import annotations

import numpy as np
import pytest
from autocomp.agents.learned_multipliers import Coefficients
from autocomp.agents.posterior.loss_model import LossModel
from hypothesis import given, settings
from hypothesis import strategies as st

LOSSES = [np.array([4.0, 2.0, 1.0, 0.0]), np.array([8.0, 1.0, 0.5]), np.array([3.0, 0.3, 0.1])]
START = [1, 1, 1]


def summed(losses: list[np.ndarray], plan: list[int]) -> float:
    return float(sum(x[i] for x, i in zip(losses, plan, strict=True)))


def test_the_prior_is_the_estimate() -> None:
    model = LossModel(LOSSES, START, 0.5, 0.25)
    for own, given_ in zip(model.losses(model.mean), LOSSES, strict=True):
        assert own == pytest.approx(given_)
    assert model.deviation.theta == pytest.approx([0.5] * 3)
    assert model.deviation.kappa == pytest.approx([0.25] * 3)


def test_one_observation_by_hand() -> None:
    """One layer whose start has ln 1 = 0: y = theta L with noise 0.02 y teaches theta alone."""
    model = LossModel([np.array([2.0, 1.0])], [0], 0.5, 0.25)
    model.fit([[0]], [2.0])  # exactly what is estimated: the mean stays, the deviation shrinks
    assert model.mean.theta == pytest.approx([1.0])
    noise = 0.02 * 2.0 / 2.0  # of theta
    assert model.deviation.theta == pytest.approx([(1 / (1 / 0.5**2 + 1 / noise**2)) ** 0.5])
    assert model.deviation.kappa == pytest.approx([0.25])


def test_values_far_from_the_best_count_little() -> None:
    """Weight 1 / ((0.02 y_min)^2 + (0.3 (y - y_min))^2), by the normal equations."""
    model = LossModel(LOSSES, START, 0.5, 0.25)
    plans, values = [[1, 1, 1], [0, 1, 2], [2, 2, 0]], [3.3, 6.0, 3.9]
    model.fit(plans, values)
    scale = 3.3 / summed(LOSSES, START)
    floor = 1e-4 * summed(LOSSES, START) / 3
    x, w = [], []
    for plan, y in zip(plans, values, strict=True):
        own = np.array([z[i] for z, i in zip(LOSSES, plan, strict=True)])
        at = np.array([z[i] for z, i in zip(LOSSES, START, strict=True)])
        x.append([*own, *(own * np.log(np.maximum(own, floor) / at))])
        w.append(1 / ((0.02 * 3.3) ** 2 + (0.3 * (y - 3.3)) ** 2))
    x, w = np.array(x) * scale, np.diag(w)
    precision = np.diag([1 / 0.25] * 3 + [1 / 0.0625] * 3)
    total = precision + x.T @ w @ x
    expected = np.linalg.solve(total, precision @ [1, 1, 1, 0, 0, 0] + x.T @ w @ np.array(values))
    assert [*model.mean.theta, *model.mean.kappa] == pytest.approx(expected)
    deviation = np.sqrt(np.diag(np.linalg.inv(total)))
    assert [*model.deviation.theta, *model.deviation.kappa] == pytest.approx(deviation)


def test_draws_have_the_posterior_s_moments() -> None:
    model = LossModel(LOSSES, START, 0.5, 0.25)
    model.fit([[1, 1, 1], [2, 0, 1]], [3.3, 9.0])
    rng = np.random.default_rng(0)
    drawn = np.array([np.r_[d.theta, d.kappa] for d in (model.draw(rng) for _ in range(4000))])
    mean = np.r_[model.mean.theta, model.mean.kappa]
    deviation = np.r_[model.deviation.theta, model.deviation.kappa]
    assert drawn.mean(0) == pytest.approx(mean, abs=0.03)
    assert drawn.std(0) == pytest.approx(deviation, rel=0.06)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.4, 2.5), min_size=3, max_size=3))
def test_it_learns_multipliers_from_exact_sums(factors: list[float]) -> None:
    model = LossModel(LOSSES, START, 0.5, 0.25)
    plans = [[a, b, c] for a in range(1, 4) for b in range(1, 3) for c in range(1, 3)]
    plans.sort(key=lambda plan: plan != START)
    true = [f * x for f, x in zip(factors, LOSSES, strict=True)]
    model.fit(plans, [summed(true, plan) for plan in plans])
    found = model.losses(model.mean)
    scale = summed(true, START) / summed(LOSSES, START)
    for plan in plans[:4]:
        assert scale * summed(found, plan) == pytest.approx(summed(true, plan), rel=0.15)


def test_losses_are_never_negative() -> None:
    model = LossModel(LOSSES, START, 0.5, 0.25)
    worst = Coefficients(np.full(3, -5.0), np.zeros(3))
    for own, given_ in zip(model.losses(worst), LOSSES, strict=True):
        assert own == pytest.approx(0.05 * given_)


@pytest.mark.parametrize("worst", [0.0, -1e-7, 1e9, float("inf"), float("nan")])
@pytest.mark.parametrize("first", [3.3, 1e-12, 0.0, -1e-7])
def test_values_at_and_beyond_the_ends_are_no_trouble(first: float, worst: float) -> None:
    """A figure may be 0 where nothing is lost, a little below by rounding, or not finite."""
    model = LossModel(LOSSES, START, 0.5, 0.25)
    model.fit([START, [0, 1, 2], [2, 2, 0]], [first, worst, 4.0])
    drawn = model.draw(np.random.default_rng(0))
    for values in (model.mean.theta, model.deviation.kappa, drawn.theta, drawn.kappa):
        assert np.isfinite(values).all() and np.abs(values).max() < 1e3


def test_estimates_of_zero_are_no_trouble() -> None:
    model = LossModel([np.zeros(3), np.array([0.0, 1.0])], [0, 0], 0.5, 0.25)
    model.fit([[0, 0], [1, 1]], [0.0, 1.0])
    for values in (*model.losses(model.mean), model.mean.theta, model.deviation.theta):
        assert np.isfinite(values).all()
