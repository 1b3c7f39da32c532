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
from autocomp.errors import AutocompError
from autocomp.plugins.contracts import check_contract
from autocomp.plugins.registry import Factory, find
from autocomp.plugins.spec import construct

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
    "make_pipeline",
]


def make_pipeline(pruner: str = "obs", quantizer: str = "gptq") -> Pipeline:
    """Returns the pipeline of two registered compressors.

    Raises:
        UnknownNameError: if one has no such name.
        AutocompError: if the pruner rounds, the quantizer does not, or one is no compressor.
    """
    made = {
        name: construct(
            "compressor", name, find("compressor", name, COMPRESSORS, GROUP), {}, AutocompError
        )
        for name in (pruner, quantizer)
    }
    for thing in made.values():
        check_contract("compressor", thing, Compressor, AutocompError)
    prunes, rounds = made[pruner], made[quantizer]
    if isinstance(prunes, Quantizer):
        raise AutocompError(
            f"`pruner` must name a compressor that makes zeros, but {pruner!r} is a quantizer; see "
            "`autocomp compressors`."
        )
    if not isinstance(rounds, Quantizer):
        raise AutocompError(
            f"`quantizer` must name a compressor with quantize(), but {quantizer!r} has none; see "
            "`autocomp compressors`."
        )
    return Pipeline(prunes, rounds)
