"""Choices and plans that the tests of a problem share."""

from __future__ import annotations

import random

from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.plan import Plan
from autocomp.problem.problem import CompressionProblem

MENU = (
    NEUTRAL,
    Choice.of(sparsity=0.5),
    Choice.of(weight_bits=8),
    Choice.of(sparsity=0.3, weight_bits=4),
    Choice.of(sparsity=0.6, weight_bits=3),
    Choice.of(pattern="2:4", weight_bits=4),
    Choice.of(sparsity=0.8, weight_bits=2),
    Choice.of(sparsity=0.0, weight_bits=4, activation_bits=4),
)


def plan_of(problem: CompressionProblem, *choices: Choice) -> Plan:
    """Returns a plan with the choices in turn."""
    names = problem.network.names
    return Plan({name: choices[i % len(choices)] for i, name in enumerate(names)})


def random_plan(problem: CompressionProblem, rng: random.Random) -> Plan:
    return Plan({name: rng.choice(MENU) for name in problem.network.names})
