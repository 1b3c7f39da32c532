"""Low rank: one layer becomes two or more plain ones, which prune, quantize and export as any.

To add a method, implement `Decomposition` and register its class in `DECOMPOSITIONS`, or under the
entry-point group `autocomp.decompositions` of another package; it is called without arguments.
"""

from __future__ import annotations

from autocomp.compression.low_rank.blueprint import Blueprint
from autocomp.compression.low_rank.chain import composed_weight
from autocomp.compression.low_rank.cp import Cp
from autocomp.compression.low_rank.decompose import (
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
from autocomp.compression.low_rank.matrix import DataSvd, SpatialSvd, Svd, output_errors
from autocomp.compression.low_rank.method import Decomposition
from autocomp.compression.low_rank.plain_layer import PlainLayer
from autocomp.compression.low_rank.tensor_train import TensorTrain
from autocomp.compression.low_rank.tucker import Tucker

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
