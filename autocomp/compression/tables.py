"""CompressedLayer tables on disk: what a layer's choices become, kept for the next search."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from autocomp.compression.compressed_layer import CompressedLayer
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.quantized import Quantized
from autocomp.storage.files import write_bytes

VERSION = 1
"""Counts up when the same key would give other weights."""
LARGEST = 1 << 30
"""Bytes of one layer's table; a larger one is not kept."""


class TableFolder:
    """A folder of tables that belong to one network, its calibration data and one pipeline.

    A table is one safetensors file per layer and menu. Files are written whole or not at all; one
    that cannot be read is as good as missing.

    Args:
        root: the cache folder, or None to keep nothing.
        key: identifies network, data and pipeline.
    """

    def __init__(self, root: Path | None, key: str = "") -> None:
        self._folder = None if root is None else root / f"tables-{VERSION}" / key

    def load(
        self, layer: LayerSpec, choices: Sequence[Choice], only: Choice | None = None
    ) -> dict[Choice, CompressedLayer] | None:
        """Returns the table of a layer for these choices, or one entry; None if there is none."""
        path = self._path(layer, choices, "safetensors")
        if path is None or not path.exists():
            return None
        try:
            with safe_open(str(path), "pt") as file:
                errors = json.loads(file.metadata()["errors"])
                names = set(file.keys())

                def read(name: str) -> Tensor | None:
                    return file.get_tensor(name) if name in names else None

                found = {}
                for i, (choice, error) in enumerate(zip(choices, errors, strict=True)):
                    if only is not None and choice != only:
                        continue
                    codes, scale = read(f"{i}.codes"), read(f"{i}.scale")
                    weight = read(f"{i}.weight")
                    whole: Quantized | Tensor | None = weight
                    if codes is not None and scale is not None:
                        whole = Quantized(codes, scale)
                    if whole is None:
                        return None
                    found[choice] = CompressedLayer(whole, float(error), read(f"{i}.shift"))
                return found
        except (SafetensorError, KeyError, ValueError, TypeError, OSError):
            return None

    def save(self, layer: LayerSpec, table: Mapping[Choice, CompressedLayer]) -> None:
        """Keeps a layer's table; a disk that is full or read-only is no error."""
        path = self._path(layer, list(table), "safetensors")
        if path is None:
            return
        tensors: dict[str, Tensor] = {}
        for i, option in enumerate(table.values()):
            if isinstance(option.weight, Quantized):
                tensors[f"{i}.codes"] = option.weight.codes.contiguous()
                tensors[f"{i}.scale"] = option.weight.scale.contiguous()
            else:
                tensors[f"{i}.weight"] = option.weight.contiguous()
            if option.shift is not None:
                tensors[f"{i}.shift"] = option.shift.contiguous()
        if sum(t.numel() * t.element_size() for t in tensors.values()) > LARGEST:
            return
        errors = json.dumps([option.error for option in table.values()])
        # two options may share memory (a choice that changes nothing)
        owned = {name: tensor.clone() for name, tensor in tensors.items()}
        _write(path, save(owned, {"errors": errors}))

    def load_facts(self, layer: LayerSpec, choices: Sequence[Choice]) -> dict[str, Any]:
        """Returns numbers that were kept beside a table, by name; {} if there are none."""
        path = self._path(layer, choices, "json")
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def save_facts(
        self, layer: LayerSpec, choices: Sequence[Choice], facts: dict[str, Any]
    ) -> None:
        """Keeps numbers beside a table, as `save` does."""
        path = self._path(layer, choices, "json")
        if path is not None:
            _write(path, json.dumps(facts).encode())

    def _path(self, layer: LayerSpec, choices: Sequence[Choice], ending: str) -> Path | None:
        if self._folder is None:
            return None
        menu = json.dumps([layer.name, *(choice.to_json() for choice in choices)])
        return self._folder / f"{hashlib.sha256(menu.encode()).hexdigest()[:24]}.{ending}"


def _write(path: Path, data: bytes) -> None:
    try:
        write_bytes(path, data)
    except OSError:
        return  # a cache that cannot be kept costs time, never a search
