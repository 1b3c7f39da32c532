"""The contract of a compressor, and what a quantizer hands to the file writer."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized


@runtime_checkable
class Compressor(Protocol):
    """Maps a weight to a new one; never touches the old one. Inherit from this class.

    `autocomp.testing.CompressorContract` holds its contract: same shape, dtype and device; the
    identity at the neutral choice; exactly `stats.layer.zeros(choice)` zeros from a pruner; at most
    `2**bits` values per scale from a quantizer, zeros of a mask aside; zero stays zero.

    Attributes:
        passes_on_order: whether a layer that was cut may lose its weights in the order in which the
            dense one lost them, fitted anew; else it is compressed from scratch.
    """

    passes_on_order: bool = False

    @abstractmethod
    def compress(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
        """Returns the compressed weight, a new tensor like `weight`."""
        ...

    @property
    def key(self) -> str:
        """A text that differs between compressors that give different weights: class, settings."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}{json.dumps(_state(self), default=repr)}"


@runtime_checkable
class Quantizer(Compressor, Protocol):
    """A compressor whose result is integer codes times scales, which is what a file stores."""

    @abstractmethod
    def quantize(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Quantized:
        """Returns the codes and scales of the compressed weight; its bits must be < 32."""
        ...

    def quantize_all(
        self, weight: Tensor, bits: Sequence[int], stats: LayerStatistics
    ) -> list[Quantized]:
        """Returns codes and scales at each bit-width; one after the other, unless it is shared."""
        return [self.quantize(weight, Choice.of(weight_bits=b), stats) for b in bits]


def _state(thing: object) -> dict[str, Any]:
    """Returns an object's settings by name, sorted; those of slots, too."""
    slots = [name for base in type(thing).__mro__ for name in vars(base).get("__slots__", ())]
    state = {name: getattr(thing, name) for name in slots if name != "__dict__"}
    state.update(vars(thing) if not slots or "__dict__" in slots else {})
    return dict(sorted(state.items()))
