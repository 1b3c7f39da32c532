"""Contract suites: pytest classes to subclass, one for each kind of thing that can be plugged in.

A suite needs one method, `make`, and brings everything else itself: layers of every kind, small
networks, and a toy problem whose optimum is known.

    from autocomp.testing import SpaceContract

    class TestMine(SpaceContract):
        def make(self):
            return MySpace()

Class attributes that a suite documents are its options. The built-in implementations run the same
suites. Needs pytest and hypothesis: `pip install 'autocomp[testing]'`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocomp.testing.agent import AgentContract
    from autocomp.testing.compressor import CompressorContract
    from autocomp.testing.cost import CostContract
    from autocomp.testing.criterion import CriterionContract
    from autocomp.testing.data import DataContract
    from autocomp.testing.decomposition import DecompositionContract
    from autocomp.testing.layer import LayerContract
    from autocomp.testing.loss import LossContract
    from autocomp.testing.model import ModelContract
    from autocomp.testing.reward import RewardContract
    from autocomp.testing.space import SpaceContract
    from autocomp.testing.task import TaskContract
    from autocomp.testing.toy_problem import ToyProblem

__all__ = [
    "AgentContract",
    "CompressorContract",
    "CostContract",
    "CriterionContract",
    "DataContract",
    "DecompositionContract",
    "LayerContract",
    "LossContract",
    "ModelContract",
    "RewardContract",
    "SpaceContract",
    "TaskContract",
    "ToyProblem",
]

_LAZY = {
    "AgentContract": "agent",
    "CompressorContract": "compressor",
    "CostContract": "cost",
    "CriterionContract": "criterion",
    "DataContract": "data",
    "DecompositionContract": "decomposition",
    "LayerContract": "layer",
    "LossContract": "loss",
    "ModelContract": "model",
    "RewardContract": "reward",
    "SpaceContract": "space",
    "TaskContract": "task",
    "ToyProblem": "toy_problem",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import sys
    from importlib import import_module

    from autocomp.errors import AutocompError
    from autocomp.plugins.imports import optional_import

    module = f"{__name__}.{_LAZY[name]}"
    if name.endswith("Contract") and module not in sys.modules:
        # so that a failed assertion shows its values, as in a test file
        optional_import("pytest", "testing", AutocompError).register_assert_rewrite(module)
        optional_import("hypothesis", "testing", AutocompError)
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return __all__
