"""One layer of the plan, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PlannedLayer:
    """A layer before and after.

    Attributes:
        name: the layer.
        kind: its kind.
        shape: its weight's shape.
        choice: what is done to it, in words.
        sparsity: share of the remaining tensors' weights that are zero, in [0, 1].
        channels: share of the units that stay, in (0, 1].
        rank: share of the full rank that stays, in (0, 1].
        weight_bits: 2 to 32.
        activation_bits: 2 to 32.
        dense_bytes: bytes of the dense weight.
        bytes: bytes that it adds to the file.
        dense_macs: multiply-accumulates of one example.
        macs: those that are left.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    choice: str
    sparsity: float
    channels: float
    rank: float
    weight_bits: int
    activation_bits: int
    dense_bytes: int
    bytes: int
    dense_macs: int
    macs: int
