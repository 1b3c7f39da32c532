"""The order in which compressors act on one weight: prune, then quantize."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autocomp.calibration import LayerStatistics
from autocomp.compressors.base import Compressor, Quantized, Quantizer
from autocomp.compressors.magnitude import MagnitudePruner
from autocomp.compressors.uniform import UniformQuantizer
from autocomp.plan import Choice


@dataclass(frozen=True)
class Compressed:
    """A compressed weight as the file writer needs it.

    Attributes:
        weight: the new weight.
        quantized: its codes and scales, or None when it stays in floating point.
    """

    weight: Tensor
    quantized: Quantized | None


@dataclass(frozen=True)
class Pipeline:
    """Prunes first, then quantizes the survivors; zero stays exactly zero.

    Attributes:
        pruner: what makes the zeros.
        quantizer: what rounds the rest.
    """

    pruner: Compressor = MagnitudePruner()
    quantizer: Quantizer = UniformQuantizer()

    def run(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Compressed:
        """Returns the compressed weight; `weight` itself when `choice` leaves weights alone."""
        return self.round(self.prune(weight, choice, stats), choice, stats)

    def prune(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
        """Returns the weight with its zeros; `weight` itself when `choice` makes none."""
        if not (choice.sparsity or choice.pattern):
            return weight.detach()
        return self.pruner.compress(weight.detach(), choice, stats)

    def round(self, pruned: Tensor, choice: Choice, stats: LayerStatistics) -> Compressed:
        """Returns the pruned weight quantized, zeros untouched."""
        if choice.weight_bits == 32:
            return Compressed(pruned, None)
        quantized = self.quantizer.quantize(pruned, choice, stats)
        return Compressed(quantized.dequantize(pruned.dtype), quantized)
