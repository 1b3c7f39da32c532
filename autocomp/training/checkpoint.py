"""A training's state on disk: tensors and a line of text, in safetensors; nothing in it is code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from autocomp.errors import RunError
from autocomp.storage.files import write_bytes

_KIND = "autocomp-training"


@dataclass(frozen=True)
class Checkpoint:
    """What a training needs to go on.

    Attributes:
        tensors: name -> tensor, of the network, the optimizer, the loss and the average.
        values: numbers, as JSON holds them.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """Writes it, all or nothing."""
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.tensors.items()}
        head = {"kind": _KIND, "values": json.dumps(dict(self.values))}
        write_bytes(path, save(tensors, metadata=head))

    @classmethod
    def read(cls, path: Path) -> Checkpoint | None:
        """Returns what `write` wrote; None where there is no file.

        Raises:
            RunError: if it holds anything else.
        """
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                head = file.metadata() or {}
                if head.get("kind") != _KIND:
                    raise ValueError("it is no state of a training")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            values = json.loads(head["values"])
            if not isinstance(values, dict):
                raise ValueError("its values are no object")
        except (OSError, SafetensorError, ValueError, KeyError, RecursionError) as error:
            raise RunError(
                f"A training goes on from its own state, but {str(path)!r} is damaged ({error}); "
                "delete it to train from the start."
            ) from None
        return cls(tensors, values)
