"""Which compressed file a network came from, noted on it."""

from __future__ import annotations

from typing import Any

from torch import nn

from autocomp.artifacts.packed import PackedModel

_ATTRIBUTE = "autocomp_file"


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each tensor of a network's state."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


class _Note:
    """Holds a file's contents; copies of the network share them."""

    def __init__(self, packed: PackedModel) -> None:
        self.packed = packed

    def __deepcopy__(self, memo: Any) -> _Note:
        return self


def note_file(network: nn.Module, packed: PackedModel) -> None:
    """Notes on a network which file it is."""
    object.__setattr__(network, _ATTRIBUTE, _Note(packed))


def noted_file(network: nn.Module) -> PackedModel | None:
    """Returns the file that a network came from; None for another, or where shapes have changed."""
    packed = file_of(network)
    return packed if packed is not None and shapes_of(network) == packed.shapes else None


def file_of(network: nn.Module) -> PackedModel | None:
    """Returns the file that is noted on a network, whatever became of it; None without a note."""
    note = vars(network).get(_ATTRIBUTE)
    return note.packed if isinstance(note, _Note) else None
