"""The types of numbers that a compressed file holds."""

from __future__ import annotations

import torch

STORED = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64,
)  # fmt: skip
"""In files by these names; a list that may grow."""
