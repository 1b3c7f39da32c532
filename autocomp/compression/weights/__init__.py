"""Compressors: pure functions (weight, Choice, statistics) -> new weight, one a file.

To add one, implement `Compressor` and register it in `COMPRESSORS`, or under the entry-point group
`autocomp.compressors` of another package.
"""

from __future__ import annotations

from autocomp.compression.weights.activation_range import activation_range
from autocomp.compression.weights.adaround import AdaRoundQuantizer
from autocomp.compression.weights.base import Compressor, Quantizer
from autocomp.compression.weights.gptq import GPTQQuantizer
from autocomp.compression.weights.magnitude import MagnitudePruner
from autocomp.compression.weights.obs import OBSPruner
from autocomp.compression.weights.pipeline import Compressed, Pipeline
from autocomp.compression.weights.uniform import UniformQuantizer
from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.quantized import Quantized
from autocomp.plugins.registry import Factory

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
