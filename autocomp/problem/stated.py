"""What pricing plans asks of a problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autocomp.compression.store import CompressionStore
from autocomp.core.budget import Budget
from autocomp.core.choice import Choice
from autocomp.core.network import Network
from autocomp.core.plan import Plan
from autocomp.core.structured import Inputs
from autocomp.costs import Cost
from autocomp.problem.settings import ProblemSettings
from autocomp.problem.subnets import Subnets

Menus = Sequence[Sequence[Choice]]
"""The choices of each layer."""
Losses = list[NDArray[np.float64]]
"""Per layer, each choice's loss."""


class StatedProblem(Protocol):
    """A network, its costs and its limits; see `CompressionProblem`, which is one."""

    settings: ProblemSettings
    network: Network
    budgets: tuple[Budget, ...]
    limits: dict[str, int]
    costs: dict[str, Cost]
    store: CompressionStore
    subnets: Subnets

    def losses(self, menus: Menus) -> Losses:
        """Returns F0: per layer, the loss in nats of each choice."""
        ...

    def size_of(self, plan: Plan) -> int:
        """Returns the real bytes of the plan's file."""
        ...

    def slope_inputs(self) -> Inputs:
        """Returns the calibration inputs on which effects on the outputs are measured."""
        ...
