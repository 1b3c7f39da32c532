"""Costs, losses and limits as bare arrays: what fits every budget, and what is best."""

from __future__ import annotations

from autocomp.allocation.allocation import Allocation
from autocomp.allocation.coupled import CoupledAllocation
from autocomp.allocation.separable import SeparableAllocation

__all__ = ["Allocation", "CoupledAllocation", "SeparableAllocation"]
