"""What evaluated plans say about the layers' estimated losses: a Bayesian linear regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from autocomp.agents.learned_multipliers import Coefficients

from autocomp.allocation.pareto import Floats

_FLOOR = 1e-4
"""Least loss whose logarithm is taken, as a share of the mean loss of the first plan's layers."""
_STEEPEST = 3.0
"""Largest |ln(L / L(start))| that counts."""
_LEAST = 0.05
"""Least multiplier of a choice's loss, in units of the prior's."""
_USELESS, _LITTLE = 100.0, 0.01
"""Largest value of a plan that is told from larger ones, and least one from 0, in units of the
start's."""
_ROUNDING = 1e-11
"""Least share of a coefficient's precision that is the prior's, for systems that can be solved."""
_EXACT, _FAR = 0.02, 0.3
"""Standard deviations of a plan's value: as a share of the best, and of its distance from it."""


class LossModel:
    """y(plan) = scale * sum_t (theta_t + kappa_t r_t) L_t, r_t = ln(L_t / L_t(start)).

    L_t is the estimated loss (F0) of layer t's choice, y what was measured. Coefficients have a
    Gaussian prior, theta_t = 1 +- `spread` and kappa_t = 0 +- `curvature`, unless others are given.
    Since theta can be learned only along the plans that are tried, and losses add only near a plan,
    a plan's value counts with the weight 1 / ((0.02 y_min)^2 + (0.3 (y - y_min))^2).

    Args:
        losses: per layer, the estimated loss of each choice.
        start: the plan that everything is relative to, as choice indices.
        spread: prior standard deviation of theta.
        curvature: prior standard deviation of kappa.
        prior: prior means; theta = 1 and kappa = 0 by default.
    """

    def __init__(
        self,
        losses: Sequence[Floats],
        start: Sequence[int],
        spread: float = 0.5,
        curvature: float = 0.25,
        prior: Coefficients | None = None,
    ) -> None:
        self._losses = list(losses)
        at_start = np.array([x[i] for x, i in zip(self._losses, start, strict=True)])
        floor = max(_FLOOR * float(at_start.mean()), 1e-12)
        self._bends = [
            np.clip(np.log(np.maximum(x, floor) / max(here, floor)), -_STEEPEST, _STEEPEST)
            for x, here in zip(self._losses, at_start, strict=True)
        ]
        self._estimate = max(float(at_start.sum()), 1e-12)
        n = len(self._losses)
        mean = prior or Coefficients(np.ones(n), np.zeros(n))
        self._prior = self._mean = np.concatenate([mean.theta, mean.kappa])
        self._precision = np.concatenate(
            [np.full(n, 1 / max(spread, 1e-6) ** 2), np.full(n, 1 / max(curvature, 1e-6) ** 2)]
        )
        self._factor = np.diag(np.sqrt(self._precision))  # upper: precision = factor' factor

    @property
    def mean(self) -> Coefficients:
        """The posterior mean."""
        return self._split(self._mean)

    @property
    def deviation(self) -> Coefficients:
        """The posterior standard deviations."""
        inverse = np.linalg.inv(self._factor)
        return self._split(np.sqrt((inverse**2).sum(1)))

    def fit(self, plans: Sequence[Sequence[int]], values: Sequence[float]) -> None:
        """Learns from all plans that were evaluated, in place of what was learned before.

        Args:
            plans: choice indices; the first is the start, whose value sets the scale.
            values: what was measured of each, smaller for better plans.
        """
        first = max(float(values[0]), 1e-9)
        # a figure that is not finite, or of a plan beyond all use, says no more than "bad"
        y = np.nan_to_num(np.asarray(values, np.float64), nan=np.inf).clip(0, _USELESS * first)
        scale = first / self._estimate
        x = np.array([self._features(plan) for plan in plans])
        best = float(y.min())
        exact = _EXACT * max(best, _LITTLE * first)
        noise = exact**2 + (_FAR * (y - best)) ** 2
        weighted = (x * (scale**2 / noise)[:, None]).T
        learned = weighted @ x
        # where values are exact beyond the numbers' own precision the prior keeps its say
        known = np.maximum(self._precision, _ROUNDING * np.trace(learned))
        precision = np.diag(known) + learned
        right = known * self._prior + weighted @ (y / scale)
        self._factor = np.linalg.cholesky(precision).T
        self._mean = np.linalg.solve(precision, right)

    def draw(self, rng: np.random.Generator, width: float = 1.0) -> Coefficients:
        """Returns a draw from the posterior, its deviations multiplied by `width`."""
        noise = rng.standard_normal(len(self._mean))
        return self._split(self._mean + width * np.linalg.solve(self._factor, noise))

    def losses(self, coefficients: Coefficients) -> list[Floats]:
        """Returns per layer what each choice's loss is, by some coefficients; never negative."""
        pairs = zip(coefficients.theta, coefficients.kappa, strict=True)
        return [
            np.maximum(theta + kappa * bend, _LEAST) * x
            for (theta, kappa), x, bend in zip(pairs, self._losses, self._bends, strict=True)
        ]

    def _features(self, plan: Sequence[int]) -> Floats:
        own = np.array([x[i] for x, i in zip(self._losses, plan, strict=True)])
        bends = np.array([r[i] for r, i in zip(self._bends, plan, strict=True)])
        return np.concatenate([own, bends * own])

    def _split(self, values: Floats) -> Coefficients:
        n = len(self._losses)
        return Coefficients(values[:n], values[n:])
