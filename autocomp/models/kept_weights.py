"""Weights of a network that trains itself, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from autocomp.storage.cache import default_root
from autocomp.storage.files import write_bytes
from autocomp.storage.sealed import Damaged, seal, tell_damaged

Weights = Mapping[str, Tensor]


def kept_weights(name: str, key: str, train: Callable[[], Weights]) -> Weights:
    """Returns trained weights from the cache folder; trains and keeps them where they are missing.

    A file that is damaged is as good as missing, and a folder that cannot be written costs time,
    nothing else.

    Args:
        name: the network's name.
        key: a text that differs wherever the weights would.
        train: trains it.
    """
    digest = hashlib.sha256(key.encode()).hexdigest()[:24]
    path = default_root() / "trained" / f"{name}-{digest}.safetensors"
    with suppress(OSError):  # there is none
        try:
            return _read(path)
        except (SafetensorError, KeyError, ValueError, TypeError, Damaged):
            tell_damaged(path)
    made = {part: tensor.contiguous().clone() for part, tensor in train().items()}
    with suppress(OSError):
        write_bytes(path, save(made, {"seal": _seal(made)}))
    return made


def _read(path: Path) -> Weights:
    with safe_open(str(path), "pt") as file:
        found = {part: file.get_tensor(part) for part in sorted(file.keys())}
        if file.metadata()["seal"] != _seal(found):
            raise Damaged(str(path))
    return found


def _seal(weights: Weights) -> str:
    parts = sorted(weights.items())
    told = [f"{part} {tuple(t.shape)} {t.dtype}".encode() for part, t in parts]
    return seal(*told, *(np.ascontiguousarray(t.numpy()).tobytes() for _, t in parts))
