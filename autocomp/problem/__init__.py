"""The narrow waist: a network, data and budgets; `evaluate(plan) -> Outcome`."""

from __future__ import annotations

from autocomp.problem.pairs import OutputPair, ScorePair
from autocomp.problem.problem import CompressionProblem
from autocomp.problem.promotion import promote
from autocomp.problem.settings import ProblemSettings
from autocomp.problem.stated import StatedProblem

__all__ = [
    "CompressionProblem",
    "OutputPair",
    "ProblemSettings",
    "ScorePair",
    "StatedProblem",
    "promote",
]
