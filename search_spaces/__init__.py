"""Action spaces: which choices exist and how an action names one, one a file.

To add one, implement `SearchSpace` and register it in `SPACES`, or under the entry-point group
`autocomp.search_spaces` of another package (examples/plugin shows one in 25 lines).
"""

from __future__ import annotations

from typing import Any

from autocomp.search_spaces.axes import Axis, AxisSpace
from autocomp.search_spaces.base import Action, ActionMap, ActionSpace, SearchSpace
from autocomp.search_spaces.bits import BitsSpace
from autocomp.search_spaces.coefficients import CoefficientSpace
from autocomp.search_spaces.feasible_space import FeasibleSpace
from autocomp.search_spaces.joint import JointSpace
from autocomp.search_spaces.nm import NMSpace
from autocomp.search_spaces.sparsity import SparsitySpace
from autocomp.search_spaces.structured import FullSpace, RankSpace, StructuredSpace
from autocomp.search_spaces.vector import VectorSpace

from autocomp.errors import SpaceError
from autocomp.plugins.contracts import check_contract
from autocomp.plugins.registry import Factory, find
from autocomp.plugins.spec import construct, parse_spec
from autocomp.problem.problem import CompressionProblem


def _coefficients(
    menu: str | SearchSpace = "joint", span: float = 3.0, discrete: bool = False, **options: Any
) -> CoefficientSpace:
    """Multipliers on the estimated losses of another space's choices (SPDY, arXiv:2201.13096).

    Args:
        menu: the space whose choices are taken.
        span: the largest logarithm of a multiplier.
        discrete: nine multipliers instead of numbers in [-1, 1].
        **options: the other space's own.
    """
    return CoefficientSpace(make_space(menu, **options), span, discrete)


SPACES: dict[str, Factory] = {
    "joint": JointSpace,
    "sparsity": SparsitySpace,
    "bits": BitsSpace,
    "nm": NMSpace,
    "coefficients": _coefficients,
    "structured": StructuredSpace,
    "rank": RankSpace,
    "full": FullSpace,
}
GROUP = "autocomp.search_spaces"

__all__ = [
    "GROUP",
    "SPACES",
    "Action",
    "ActionMap",
    "ActionSpace",
    "Axis",
    "AxisSpace",
    "BitsSpace",
    "CoefficientSpace",
    "FeasibleSpace",
    "FullSpace",
    "JointSpace",
    "NMSpace",
    "RankSpace",
    "SearchSpace",
    "SparsitySpace",
    "StructuredSpace",
    "VectorSpace",
    "feasible_space",
    "make_space",
]


def make_space(space: str | SearchSpace, **options: Any) -> SearchSpace:
    """Returns the space that a text as `joint` or `bits:weight_bits=2/4/8` names, or the object.

    Raises:
        UnknownNameError: if no space has that name.
        SpaceError: if it does not take the options, or is no space.
    """
    if not isinstance(space, str):
        return _checked(space)
    name, given = parse_spec(space)
    factory = find("search space", name, SPACES, GROUP)
    return _checked(construct("search space", name, factory, {**given, **options}, SpaceError))


def _checked(space: Any) -> SearchSpace:
    """Returns the space, if it is one; SpaceError for a class or an object without its methods."""
    check_contract("search space", space, SearchSpace, SpaceError)
    found: SearchSpace = space
    return found


def feasible_space(problem: CompressionProblem, space: str | SearchSpace) -> FeasibleSpace:
    """Returns a space, given by name or as an object, under a problem's budgets.

    Raises:
        BudgetError: if no plan of the space meets the budgets.
        SpaceError, UnknownNameError: as `make_space`, and for actions that cannot be under them.
    """
    return FeasibleSpace.build(problem, make_space(space))
