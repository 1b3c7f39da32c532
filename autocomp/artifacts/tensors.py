"""Plain tensors in a file: their raw values, in full or in 16 bits."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.core.dtypes import STORED
from autocomp.errors import ArtifactError

_DTYPES = {str(dtype).split(".")[1]: dtype for dtype in STORED}
_HALF_MAX = torch.finfo(torch.float16).max


def dtype_named(name: str) -> torch.dtype:
    """Returns the dtype called `name`; ArtifactError if files do not hold such."""
    if name not in _DTYPES:
        raise ArtifactError(f"A file must hold tensors of {sorted(_DTYPES)}, but got {name!r}.")
    return _DTYPES[name]


def dtype_name(dtype: torch.dtype) -> str:
    """Returns what `dtype_named` reads; ArtifactError if files do not hold such."""
    name = str(dtype).split(".")[1]
    dtype_named(name)
    return name


def to_half(tensor: Tensor) -> Tensor:
    """Rounds to float16 and back, clamped to its range: what a 16-bit side tensor becomes."""
    half = tensor.clamp(-_HALF_MAX, _HALF_MAX).to(torch.float16)
    return half.to(tensor.dtype)


def write_raw(tensor: Tensor, bits: int) -> bytes:
    """Returns the values as bytes; floating-point ones as float16 when `bits` is 16."""
    tensor = tensor.detach().cpu()
    if bits == 16 and tensor.is_floating_point():
        tensor = tensor.clamp(-_HALF_MAX, _HALF_MAX).to(torch.float16)
    if tensor.numel() == 0:
        return b""
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def read_raw(
    data: memoryview, shape: tuple[int, ...], dtype: torch.dtype, bits: int
) -> tuple[Tensor, memoryview]:
    """Reads what `write_raw` wrote; returns the tensor and what follows.

    Raises:
        ArtifactError: if the data end too early.
    """
    stored = torch.float16 if bits == 16 and dtype.is_floating_point else dtype
    count = 1
    for size in shape:
        count *= size
    length = count * stored.itemsize
    if len(data) < length:
        raise ArtifactError(f"The file must hold {length} more bytes, but ends after {len(data)}.")
    if count == 0:
        return torch.zeros(shape, dtype=dtype), data
    flat = torch.frombuffer(bytearray(data[:length]), dtype=stored)
    return flat.reshape(shape).to(dtype), data[length:]
