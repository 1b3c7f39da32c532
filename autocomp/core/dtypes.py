"""Which tensors hold plain numbers, and the types of numbers that a compressed file holds."""

from __future__ import annotations

import torch
from torch import Tensor

STORED = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64,
)  # fmt: skip
"""In files by these names; a list that may grow."""


def is_dense(tensor: Tensor) -> bool:
    """Whether a tensor holds its numbers one by one, in memory of its own layout."""
    return (
        tensor.layout == torch.strided
        and not tensor.is_nested
        and not tensor.is_meta
        and not tensor.is_quantized
    )
