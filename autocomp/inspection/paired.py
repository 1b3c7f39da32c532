"""Paired differences over seeds, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
"""Confidence of an interval."""


@dataclass(frozen=True)
class PairedDifference:
    """A measure of one group less that of another, seed by seed.

    Attributes:
        measure: what is compared, in words.
        seeds: the seeds that both have.
        values: the difference at each of them.
        mean: their mean.
        low, high: a 95 % percentile bootstrap interval of the mean; None with a single seed, which
            says nothing about the spread.
        percent: whether they are shares.
    """

    measure: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    percent: bool = False

    @classmethod
    def of(
        cls,
        measure: str,
        first: Mapping[int, float],
        second: Mapping[int, float],
        percent: bool = False,
    ) -> PairedDifference | None:
        """Returns the first less the second over their common seeds; None if there are none.

        Args:
            measure: what is compared.
            first: seed -> value.
            second: seed -> value.
            percent: whether values are shares.
        """
        seeds = tuple(sorted(first.keys() & second.keys()))
        if not seeds:
            return None
        values = tuple(first[seed] - second[seed] for seed in seeds)
        low, high = bootstrap_interval(values) or (None, None)
        return cls(measure, seeds, values, float(np.mean(values)), low, high, percent)


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """Returns the 2.5 % and 97.5 % quantiles of the mean over 10,000 resamples.

    The percentile method (Efron and Tibshirani 1993, chapter 13). Over few values it is too
    narrow, because a resample's variance is (n - 1) / n of the sample's.

    Args:
        values: independent values.
        seed: of the resamples; the same values give the same interval.

    Returns:
        The interval, of zero width where all values are equal; None for fewer than two values.
    """
    if len(values) < 2:
        return None
    sample = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(sample), (RESAMPLES, len(sample)))
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.quantile(sample[drawn].mean(axis=1), tails)
    return float(low), float(high)
