"""Low rank: one layer becomes two or more plain ones, which prune, quantize and export as any.

To add a method, implement `Decomposition` and register its class in `DECOMPOSITIONS`, or under the
entry-point group `autocomp.decompositions` of another package; it is called without arguments.
"""

from __future__ import annotations

from autocomp.decomposition.blueprint import Blueprint
from autocomp.decomposition.chain import composed_weight
from autocomp.decomposition.cp import Cp
from autocomp.decomposition.decompose import (
    DECOMPOSITIONS,
    GROUP,
    applies_to,
    blueprint,
    decompose,
    full_rank,
    macs,
    make_decomposition,
    n_weights,
    useful_ranks,
)
from autocomp.decomposition.matrix import DataSvd, SpatialSvd, Svd, output_errors
from autocomp.decomposition.method import Decomposition
from autocomp.decomposition.plain_layer import PlainLayer
from autocomp.decomposition.tensor_train import TensorTrain
from autocomp.decomposition.tucker import Tucker

__all__ = [
    "DECOMPOSITIONS",
    "GROUP",
    "Blueprint",
    "Cp",
    "DataSvd",
    "Decomposition",
    "PlainLayer",
    "SpatialSvd",
    "Svd",
    "TensorTrain",
    "Tucker",
    "applies_to",
    "blueprint",
    "composed_weight",
    "decompose",
    "full_rank",
    "macs",
    "make_decomposition",
    "n_weights",
    "output_errors",
    "useful_ranks",
]
