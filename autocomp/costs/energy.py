"""Energy of one example, from a table per operation and bit-width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, isfinite, prod
from pathlib import Path
from typing import Any

from autocomp.compression.store import CompressionStore
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.costs.base import Cost
from autocomp.errors import BudgetError
from autocomp.storage.json_files import read_json

_FIELDS = ("float_mac", "integer_product", "integer_sum", "weight_bit", "value_bit")


@dataclass(frozen=True)
class EnergyTable:
    """Picojoules of a device's operations; the defaults are those of a 45 nm process.

    Products and sums from Horowitz, ISSCC 2014 (float32: 3.7 and 0.9; 8-bit integers: 0.2; a 32-bit
    integer sum: 0.1); a bit from DRAM as in Han et al. 2015, arXiv:1506.02626 (640 a word of 32),
    a bit from on-chip memory likewise (5 a word). Products of integers grow with both widths: that
    of 32 bits is 3.1 there and 3.2 here.

    Attributes:
        float_mac: one multiply-accumulate where weights or inputs are floats.
        integer_product: one product of 8-bit integers; others take `a * b / 64` times as much.
        integer_sum: adding it up.
        weight_bit: reading one bit of a weight, once an example.
        value_bit: reading one bit of an input of a layer, once an example.
    """

    float_mac: float = 4.6
    integer_product: float = 0.2
    integer_sum: float = 0.1
    weight_bit: float = 20.0
    value_bit: float = 0.15625

    def __post_init__(self) -> None:
        """Raises BudgetError for a number that is negative or not finite."""
        for name in _FIELDS:
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not isfinite(value) or value < 0:
                raise BudgetError(
                    f"`{name}` must be picojoules, at least 0, but got {value!r:.40}; change it."
                )

    @classmethod
    def read(cls, path: str | Path) -> EnergyTable:
        """Reads a table from a JSON file of the attributes' names; those left out are as above.

        Raises:
            BudgetError: if there is no such file, or it holds anything else.
        """
        try:
            found: Any = read_json(Path(path))
        except (OSError, ValueError) as error:
            raise BudgetError(
                f"An energy table must be a JSON file, but {str(path)!r} is not ({error}); write "
                f"numbers under {', '.join(_FIELDS)}."
            ) from None
        strange = set(found) - set(_FIELDS) if isinstance(found, Mapping) else {repr(found)[:40]}
        if strange:
            raise BudgetError(
                f"An energy table holds {', '.join(_FIELDS)}, but {str(path)!r} has "
                f"{sorted(strange)[0]!r}; leave it out."
            )
        return cls(**found)

    def mac(self, weight_bits: int, value_bits: int) -> float:
        """Returns the picojoules of one multiply-accumulate."""
        if weight_bits == 32 or value_bits == 32:
            return self.float_mac
        product = self.integer_product * weight_bits * value_bits / 64
        return min(product + self.integer_sum, self.float_mac)


class Energy(Cost):
    """Picojoules of one example: multiply-accumulates, weights read, and layers' inputs read.

    `macs * mac(w, a) + weights * w * weight_bit + inputs * a * value_bit`, rounded up. Zeros that a
    mask leaves are computed and read like others. It is a model, for devices that work like its
    table says, and no measurement; `docs/unsupported.md`. Unit: picojoules.

    Args:
        store: the network.
        table: the device's numbers. For a table of your own give a budget what makes the cost:
            `Budget(lambda store: Energy(store, EnergyTable.read("chip.json")), 0.5)`.
    """

    unit = "pJ"

    def __init__(self, store: CompressionStore, table: EnergyTable | None = None) -> None:
        self.table = table or EnergyTable()
        network = store.network
        others = sum(self.of_layer(layer, NEUTRAL) for layer in network.frozen)
        self._fixed = others + ceil(network.other_macs * self.table.float_mac)
        self._dense = self._fixed + sum(self.of_layer(x, NEUTRAL) for x in network.layers)

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the layer's picojoules."""
        weights, values = choice.weights.bits, layer.in_effect(choice).activations.bits
        table = self.table
        inputs = layer.calls * prod(layer.input_shape) if layer.input_shape else 0
        return ceil(
            layer.macs * table.mac(weights, values)
            + layer.n_weights * weights * table.weight_bit
            + inputs * values * table.value_bit
        )

    def fixed(self, side_bits: int) -> int:
        """Returns the picojoules of frozen layers and of what multiplies beside all layers."""
        return self._fixed

    @property
    def reference(self) -> int:
        """The dense network's picojoules."""
        return self._dense
