"""Side tensors in a file: batch norms fused, in one byte a number, most others in 16 bits.

Those that 16 bits do not hold are stored unchanged, see `side_form.py`; and where a plan quantizes
nothing, all of them are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autocomp.artifacts.fused_norm import PARTS, FusedNorm
from autocomp.artifacts.index import Index
from autocomp.artifacts.packed import PackedModel
from autocomp.artifacts.side_form import SideForm
from autocomp.artifacts.tensors import read_raw, to_half, write_raw
from autocomp.errors import ArtifactError


def round_side(side: Mapping[str, Tensor], form: SideForm) -> dict[str, Tensor]:
    """Returns what a quantized network's file makes of its side tensors; idempotent.

    Args:
        side: state-dict name -> tensor.
        form: how the file holds them.
    """
    rounded = {
        name: tensor.clone() if name in form.wide else to_half(tensor)
        for name, tensor in side.items()
    }
    for name, eps in form.norms.items():
        weight, bias, mean, var = (side[f"{name}.{part}"] for part in PARTS)
        fused = FusedNorm.of(weight, bias, mean, var, eps).tensors(weight.dtype)
        for part, tensor in zip(PARTS, fused, strict=True):
            rounded[f"{name}.{part}"] = tensor.to(weight.device)
    return rounded


def side_bytes(model: PackedModel, bits: int) -> int:
    """Returns the length of `write_side`, with `bits` for numbers that are not in full."""
    fused = _parts(model.norms) if bits == 16 else set()
    length = sum(
        _length(tensor, 32 if name in model.wide else bits)
        for name, tensor in model.side.items()
        if name not in fused
    )
    if fused:
        length += sum(
            FusedNorm.length(model.side[f"{name}.weight"].numel()) for name in model.norms
        )
    return length


def _length(tensor: Tensor, bits: int) -> int:
    half = bits == 16 and tensor.is_floating_point()
    return tensor.numel() * (2 if half else tensor.element_size())


def _parts(norms: tuple[str, ...]) -> set[str]:
    return {f"{name}.{part}" for name in norms for part in PARTS}


def write_side(model: PackedModel) -> bytes:
    """Returns the side tensors: fused batch norms first, then the others.

    Raises:
        ArtifactError: if the plan quantizes, and a batch norm is not fused and rounded.
    """
    bits = model.plan.side_bits
    out = []
    for name in model.norms:
        parts = [model.side[f"{name}.{part}"] for part in PARTS]
        if bits == 32:
            out += [write_raw(tensor, 32) for tensor in parts]
            continue
        weight, bias, mean, var = parts
        norm = FusedNorm.of(weight, bias, mean, var, eps=0.0)
        if not all(
            torch.equal(found, part.cpu())
            for found, part in zip(norm.tensors(parts[0].dtype), parts, strict=True)
        ):
            raise ArtifactError(
                f"A file must hold batch norms as `round_side` leaves them, but {name!r} has other "
                "values; round the side tensors first."
            )
        out.append(norm.to_bytes())
    fused = _parts(model.norms)
    out += [
        write_raw(t, 32 if name in model.wide else bits)
        for name, t in model.side.items()
        if name not in fused
    ]
    return b"".join(out)


def read_side(index: Index, at: memoryview, bits: int) -> tuple[dict[str, Tensor], memoryview]:
    """Reads what `write_side` wrote; returns the tensors and what follows.

    Raises:
        ArtifactError, ValueError: if the data end too early.
    """
    side: dict[str, Tensor] = {}
    for norm in index.norms:
        parts: list[Tensor] = []
        if bits == 32:
            for _ in PARTS:
                tensor, at = read_raw(at, norm.shape, norm.dtype, 32)
                parts.append(tensor)
        else:
            fused, at = FusedNorm.read(at, *norm.shape)
            parts += fused.tensors(norm.dtype)
        side.update(zip((f"{norm.name}.{part}" for part in PARTS), parts, strict=True))
    for x in index.side:
        side[x.name], at = read_raw(at, x.shape, x.dtype, 32 if x.wide else bits)
    return side, at
