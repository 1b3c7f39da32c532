"""CompressedLayer tables on disk: what a layer's choices become, kept for the next search."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from autocomp.artifacts.tensors import write_raw
from autocomp.compression.compressed_layer import CompressedLayer
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.quantized import Quantized
from autocomp.storage.files import write_bytes
from autocomp.storage.sealed import Damaged, read_sealed, seal, tell_damaged, write_sealed

VERSION = 2
"""Counts up when the same key would give other weights."""
_PARTS = ("codes", "scale", "weight", "shift")
LARGEST = 1 << 30
"""Bytes of one layer's table; a larger one is not kept."""


class TableFolder:
    """A folder of tables that belong to one network, its calibration data and one pipeline.

    A table is one safetensors file per layer and menu, with a checksum of each option. Files are
    written whole or not at all; one that is damaged is as good as missing, and said once.

    Args:
        root: the cache folder, or None to keep nothing.
        key: identifies network, data and pipeline.
    """

    def __init__(self, root: Path | None, key: str = "") -> None:
        self._folder = None if root is None else root / f"tables-{VERSION}" / key
        self._told = False

    def load(
        self, layer: LayerSpec, choices: Sequence[Choice], only: Choice | None = None
    ) -> dict[Choice, CompressedLayer] | None:
        """Returns the table of a layer for these choices, or one entry; None if there is none."""
        path = self._path(layer, choices, "safetensors")
        if path is None or not path.exists():
            return None
        try:
            with safe_open(str(path), "pt") as file:
                metadata = file.metadata()
                errors, seals = json.loads(metadata["errors"]), json.loads(metadata["seals"])
                names = set(file.keys())
                found = {}
                for i, (choice, error, sealed) in enumerate(
                    zip(choices, errors, seals, strict=True)
                ):
                    if only is not None and choice != only:
                        continue
                    parts = {
                        part: file.get_tensor(f"{i}.{part}")
                        for part in _PARTS
                        if f"{i}.{part}" in names
                    }
                    if _seal(error, parts) != sealed:
                        raise Damaged(str(path))
                    found[choice] = _option(layer, error, parts)
                return found
        except (SafetensorError, KeyError, ValueError, TypeError, OSError, Damaged):
            self._tell(path)
            return None

    def _tell(self, path: Path) -> None:
        """Says that a table is damaged: once, for a damaged disk has many."""
        if not self._told:
            self._told = True
            tell_damaged(path)

    def save(self, layer: LayerSpec, table: Mapping[Choice, CompressedLayer]) -> None:
        """Keeps a layer's table; a disk that is full or read-only is no error."""
        path = self._path(layer, list(table), "safetensors")
        if path is None:
            return
        # cloned: two options may share memory (a choice that changes nothing)
        parts = [
            {name: tensor.contiguous().clone() for name, tensor in _parts(option).items()}
            for option in table.values()
        ]
        tensors = {f"{i}.{name}": t for i, held in enumerate(parts) for name, t in held.items()}
        if sum(t.numel() * t.element_size() for t in tensors.values()) > LARGEST:
            return
        errors = [option.error for option in table.values()]
        seals = [_seal(error, held) for error, held in zip(errors, parts, strict=True)]
        told = {"errors": json.dumps(errors), "seals": json.dumps(seals)}
        _write(path, lambda target: write_bytes(target, save(tensors, told)))

    def load_facts(self, layer: LayerSpec, choices: Sequence[Choice]) -> dict[str, Any]:
        """Returns numbers that were kept beside a table, by name; {} if there are none."""
        path = self._path(layer, choices, "json")
        if path is None or not path.exists():
            return {}
        try:
            found = read_sealed(path)
        except (OSError, Damaged):
            self._tell(path)
            return {}
        return found if isinstance(found, dict) else {}

    def save_facts(
        self, layer: LayerSpec, choices: Sequence[Choice], facts: dict[str, Any]
    ) -> None:
        """Keeps numbers beside a table, as `save` does."""
        path = self._path(layer, choices, "json")
        if path is not None:
            _write(path, lambda target: write_sealed(target, facts))

    def _path(self, layer: LayerSpec, choices: Sequence[Choice], ending: str) -> Path | None:
        if self._folder is None:
            return None
        menu = json.dumps([layer.name, *(choice.to_json() for choice in choices)])
        return self._folder / f"{hashlib.sha256(menu.encode()).hexdigest()[:24]}.{ending}"


def _write(path: Path, write: Callable[[Path], None]) -> None:
    try:
        write(path)
    except OSError:
        return  # a cache that cannot be kept costs time, never a search


def _parts(option: CompressedLayer) -> dict[str, Tensor]:
    """Returns the tensors of an option, by their names in `_PARTS`."""
    weight = option.weight
    if isinstance(weight, Quantized):
        found = {"codes": weight.codes, "scale": weight.scale}
    else:
        found = {"weight": weight}
    return found if option.shift is None else {**found, "shift": option.shift}


def _seal(error: float, parts: Mapping[str, Tensor]) -> str:
    """Returns the checksum of an option."""
    told = [f"{name} {tuple(t.shape)} {t.dtype}".encode() for name, t in parts.items()]
    return seal(repr(error).encode(), *told, *(write_raw(t, 32) for t in parts.values()))


def _option(layer: LayerSpec, error: Any, parts: Mapping[str, Tensor]) -> CompressedLayer:
    """Returns an option of a layer; Damaged if it is none, whatever its checksum says."""
    codes, scale = parts.get("codes"), parts.get("scale")
    weight: Quantized | Tensor | None = parts.get("weight")
    if codes is not None and scale is not None:
        weight = Quantized(codes, scale)
    whole = codes if codes is not None else parts.get("weight")
    numbers = [t for t in parts.values() if t.is_floating_point()]
    if (
        weight is None
        or whole is None
        or tuple(whole.shape) != layer.shape
        or not isinstance(error, (int, float))
        or not math.isfinite(error)
        or not all(bool(torch.isfinite(t).all()) for t in numbers)
        or (codes is not None and codes.is_floating_point())
    ):
        raise Damaged(layer.name)
    return CompressedLayer(weight, float(error), parts.get("shift"))
