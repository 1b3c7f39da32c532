"""Compressors: pure functions (weight, Choice, statistics) -> new weight, one a file.

To add one, implement `Compressor` and register it in `COMPRESSORS`, or under the entry-point group
`autocomp.compressors` of another package.
"""

from __future__ import annotations

from autocomp.compressors.activation import ActivationQuantizer, activation_range
from autocomp.compressors.adaround import AdaRoundQuantizer
from autocomp.compressors.base import Compressor, Quantized, Quantizer
from autocomp.compressors.gptq import GPTQQuantizer
from autocomp.compressors.magnitude import MagnitudePruner
from autocomp.compressors.obs import OBSPruner
from autocomp.compressors.pipeline import Compressed, Pipeline
from autocomp.compressors.uniform import UniformQuantizer
from autocomp.registry import Factory

COMPRESSORS: dict[str, Factory] = {
    "obs": OBSPruner,
    "magnitude": MagnitudePruner,
    "gptq": GPTQQuantizer,
    "adaround": AdaRoundQuantizer,
    "symmetric": UniformQuantizer.symmetric_per_channel,
    "symmetric-tensor": UniformQuantizer.symmetric_per_tensor,
    "asymmetric": UniformQuantizer.asymmetric_per_channel,
    "asymmetric-tensor": UniformQuantizer.asymmetric_per_tensor,
}
GROUP = "autocomp.compressors"

__all__ = [
    "COMPRESSORS",
    "GROUP",
    "ActivationQuantizer",
    "AdaRoundQuantizer",
    "Compressed",
    "Compressor",
    "GPTQQuantizer",
    "MagnitudePruner",
    "OBSPruner",
    "Pipeline",
    "Quantized",
    "Quantizer",
    "UniformQuantizer",
    "activation_range",
]
