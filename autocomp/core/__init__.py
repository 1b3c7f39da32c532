"""The vocabulary: choices, plans, layers, budgets, outcomes; no network and no file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autocomp.core.budget import Budget, parse_budgets
from autocomp.core.choice import NEUTRAL, Activations, Choice, Structure, Weights
from autocomp.core.fidelity import Fidelity
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.outcome import Outcome, best_of
from autocomp.core.plan import Plan

if TYPE_CHECKING:
    from autocomp.core.activation_quantizer import ActivationQuantizer
    from autocomp.core.quantized import Quantized

__all__ = [
    "NEUTRAL",
    "ActivationQuantizer",
    "Activations",
    "Budget",
    "Choice",
    "Fidelity",
    "LayerSpec",
    "Network",
    "Outcome",
    "Plan",
    "Quantized",
    "Structure",
    "Weights",
    "best_of",
    "parse_budgets",
]

# these hold tensors, and words alone must not load torch
_LAZY = {"ActivationQuantizer": "activation_quantizer", "Quantized": "quantized"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
