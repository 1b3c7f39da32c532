"""What identifies a network's weights."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import torch
from torch import nn


def fingerprint(model: nn.Module) -> str:
    """Returns 16 hexadecimal digits of a digest over every tensor of the state dict."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


@cache
def source_digest() -> str:
    """Returns a digest of the code that makes tables: other mathematics, other tables."""
    here = Path(__file__).parent
    files = [*here.glob("recovery/*.py"), *here.glob("compressors/*.py")]
    files += [here / f"{name}.py" for name in ("options", "sensitivity", "prefix", "norms")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
