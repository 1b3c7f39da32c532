"""The order in which compressors act on one weight: prune, then quantize."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.weights.base import Compressor, Quantizer
from autocomp.compression.weights.gptq import GPTQQuantizer
from autocomp.compression.weights.obs import OBSPruner
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized
from autocomp.errors import AutocompError
from autocomp.plugins.contracts import check_contract


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

    Raises:
        AutocompError: if one is no compressor, or the quantizer does not round.
    """

    pruner: Compressor = field(default_factory=OBSPruner)
    quantizer: Quantizer = field(default_factory=GPTQQuantizer)

    def __post_init__(self) -> None:
        """Checks both."""
        check_contract("compressor", self.pruner, Compressor, AutocompError)
        check_contract("quantizer", self.quantizer, Quantizer, AutocompError)

    @property
    def name(self) -> str:
        """A text that differs between pipelines that give different weights."""
        return f"{self.pruner.key} {self.quantizer.key}"

    def run(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Compressed:
        """Returns the compressed weight; `weight` itself when `choice` leaves weights alone."""
        return self.run_all(weight, [choice], stats)[0]

    def run_all(
        self, weight: Tensor, choices: Sequence[Choice], stats: LayerStatistics
    ) -> list[Compressed]:
        """Compresses to many choices; those with the same zeros share the work of finding them."""
        groups: dict[tuple[float, str], list[Choice]] = {}
        for choice in dict.fromkeys(choices):
            groups.setdefault((choice.weights.sparsity, choice.weights.pattern), []).append(choice)
        found: dict[Choice, Compressed] = {}
        for group in groups.values():
            pruned = self._prune(weight.detach(), group[0], stats)
            found.update(self._round(pruned, group, stats))
        return [found[choice] for choice in choices]

    def _prune(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
        if not (choice.weights.sparsity or choice.weights.pattern):
            return weight
        return self.pruner.compress(weight, choice, stats)

    def _round(
        self, pruned: Tensor, group: Sequence[Choice], stats: LayerStatistics
    ) -> dict[Choice, Compressed]:
        found = {c: Compressed(pruned, None) for c in group if c.weights.bits == 32}
        rounded = [c for c in group if c.weights.bits < 32]
        if not rounded:
            return found
        bits = sorted({c.weights.bits for c in rounded})
        made = dict(zip(bits, self.quantizer.quantize_all(pruned, bits, stats), strict=True))
        for c in rounded:
            q = made[c.weights.bits]
            found[c] = Compressed(q.dequantize(pruned.dtype), q)
        return found
