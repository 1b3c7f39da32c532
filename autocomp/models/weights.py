"""Loading trained weights into a network, with nothing written until everything fits."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from autocomp.core.dtypes import is_dense
from autocomp.errors import ModelError
from autocomp.plugins.imports import describe
from autocomp.storage.archives import is_archive, unpacked_bytes
from autocomp.storage.paths import user_path

_WRAPPERS = ("state_dict", "model")
_SPARE = 1 << 20
_PREFIX = "module."


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Loads a file of weights into `model`, in place; on any error `model` is as it was.

    Args:
        model: the network; its parameters and buffers must be exactly those of the file.
        path: a `.safetensors` file, or else what `torch.save` wrote of a state dict. A state dict
            under "state_dict" or "model" is unwrapped, and the prefix "module." taken off. No code
            in the file is ever run.

    Raises:
        ModelError: if the file is missing, unreadable, holds code or anything but tensors, if
            names or shapes differ from the network's, or if a value is NaN or infinite.
    """
    file = user_path(path, "weights", ModelError)
    if not file.is_file():
        raise ModelError(f"The file of weights {str(path)!r} does not exist. Check the path.")
    state = _state_of(_read(file), file)
    _check_fit(state, model.state_dict(), file)
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value.to(torch.float64)).all()):
            raise ModelError(
                f"{str(file)!r}: weights must be finite, but {name!r} holds NaN or infinity. "
                "Take a checkpoint from before the training diverged."
            )
    model.load_state_dict(state, strict=True)


def _read(file: Path) -> object:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        if unpacked_bytes(file) > 2 * file.stat().st_size + _SPARE:
            raise ValueError("it would be many times as long unpacked; torch packs nothing")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, weights_only=True, map_location="cpu")
    except Exception as problem:  # a damaged or hostile file fails in any way
        code = re.search(r"GLOBAL (\S+)", str(problem))
        if code:
            raise ModelError(
                f"{str(file)!r} holds code ({code[1]}) besides weights, and is refused. Save the "
                "state dict alone: torch.save(model.state_dict(), path)."
            ) from problem
        is_pickle = file.read_bytes()[:1] == b"\x80" or is_archive(file)
        if isinstance(problem, pickle.UnpicklingError) and is_pickle:
            raise ModelError(
                f"{str(file)!r} is a pickle of more than tensors, which could run code, and is "
                "refused. Save the state dict alone: torch.save(model.state_dict(), path)."
            ) from problem
        raise ModelError(
            f"{str(file)!r} cannot be read as weights ({describe(problem)[:120]}). Save it with "
            "torch.save(model.state_dict(), path), or as .safetensors."
        ) from problem


def _state_of(found: object, file: Path) -> dict[str, Tensor]:
    """Returns the state dict in what a file holds, without wrapper and prefix."""
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping):
        raise ModelError(
            f"{str(file)!r} holds a {type(found).__name__}, not a state dict. "
            "Save one: torch.save(model.state_dict(), path)."
        )
    state: dict[str, Tensor] = {}
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise ModelError(
                f"{str(file)!r}: {name!r} must be a tensor, but is a {type(value).__name__}. "
                "Save the state dict alone, or under the key 'state_dict'."
            )
        if not is_dense(value):
            raise ModelError(
                f"{str(file)!r}: {name!r} must be a dense tensor of numbers, but is one of "
                f"{value.dtype} in the layout {value.layout} on {value.device}; convert it first."
            )
        state[str(name)] = value
    if state and all(name.startswith(_PREFIX) for name in state):
        state = {name.removeprefix(_PREFIX): value for name, value in state.items()}
    return state


def _check_fit(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], file: Path) -> None:
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted]
    if missing or unexpected:
        parts = [f"lacks {_first(missing)}"] if missing else []
        parts += [f"has the unknown {_first(unexpected)}"] if unexpected else []
        raise ModelError(
            f"{str(file)!r} does not fit the network: it {' and '.join(parts)}. "
            "Build the architecture that these weights were trained in."
        )
    for name, value in wanted.items():
        if state[name].shape != value.shape:
            raise ModelError(
                f"{str(file)!r}: {name!r} has shape {tuple(state[name].shape)}, but the network's "
                f"is {tuple(value.shape)}. Build it with the options it was trained with."
            )
        if state[name].is_floating_point() != value.is_floating_point():
            raise ModelError(
                f"{str(file)!r}: {name!r} is of type {state[name].dtype}, but the network's is "
                f"{value.dtype}. Save the weights as floating numbers."
            )


def _first(names: Iterable[str]) -> str:
    """Returns up to three names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more
