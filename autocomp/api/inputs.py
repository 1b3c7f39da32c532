"""A network and one of its inputs, from what a user names on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.loading import load
from autocomp.core.structured import Inputs
from autocomp.data import load_data
from autocomp.errors import AutocompError, LayerError, RunError
from autocomp.models import MODELS, build_model, noted_source
from autocomp.network.device import dtype_of, of_type
from autocomp.network.forward import forward
from autocomp.network.modes import evaluation_mode
from autocomp.network.sites import find_sites
from autocomp.runs.folder import Run
from autocomp.runs.settings import SearchConfig
from autocomp.runs.trust import refuse_code


def network_for(
    model: str | PathLike[str] | nn.Module | Callable[..., nn.Module], weights: str = ""
) -> nn.Module:
    """Returns the network that is given or named: a compressed file, or as for a search.

    Raises:
        AutocompError: of the kind that says what is wrong with it.
    """
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, PathLike):
        return load(Path(model))
    if isinstance(model, str) and model not in MODELS and Path(model).exists():
        return load(model)
    return build_model(model, weights or None)


def example_for(network: nn.Module, data: Any = None, shape: str = "") -> Inputs:
    """Returns a batch of one input.

    Args:
        network: the network.
        data: as for a search; the first calibration input is taken.
        shape: or the shape of one input, "3x32x32"; filled with random numbers.

    Raises:
        AutocompError: if neither is given and no usual size of images fits, or the shape is none.
    """
    if shape:
        try:
            sizes = [int(part) for part in shape.lower().split("x")]
        except ValueError:
            sizes = []
        if not sizes or min(sizes) < 1:
            raise AutocompError(f"`input` must read as 3x32x32, but got {shape!r}.")
        return _made(network, sizes)
    source = noted_source(network)
    if data is None and source is not None and source.name == "digits":
        data = "digits"
    if data is not None:
        return of_type(load_data(data).example_inputs(1), dtype_of(network))
    first = next(iter(find_sites(network).values()), None)
    if first is None:
        raise LayerError("The network must have a layer to measure, but none was found in it.")
    if first.kind == "embedding":
        guesses: list[tuple[int, ...]] = [(16,)]
    elif first.kind == "linear":
        guesses = [(first.weight.shape[1],)]
    else:
        channels = int(first.weight.shape[1]) * int(getattr(first.module, "groups", 1))
        guesses = [(channels, 32, 32), (channels, 224, 224), (channels, 28, 28), (channels, 8, 8)]
    for sizes_of in guesses:
        example = _made(network, sizes_of)
        try:
            with torch.inference_mode(), evaluation_mode(network):
                forward(network, example)
        except LayerError:
            continue
        return example
    raise AutocompError(
        "The shape of an input must be known; give its input (--input 3x32x32) or data (--data)."
    )


def source_of_export(
    path: str | PathLike[str], data: Any, model: Any, trust: bool = False, task: Any = None
) -> tuple[Path, Any, Any, Any]:
    """Returns a compressed file, and the data, the architecture and the task that go with it.

    Args:
        path: a run folder, or a compressed file.
        data: data to use; the run's own if None.
        model: architecture to use; the run's own, or the file's, if None.
        trust: whether the run may name code to import.
        task: task to use; the run's own if None.

    Raises:
        AutocompError: if there is no such file, no data are known, or the run names code and is
            not trusted.
    """
    found = Path(path)
    settings: dict[str, Any] = {}
    if found.is_dir():
        run = Run.open(found)
        settings = run.config()["settings"]
        if not trust:
            named = {**dict.fromkeys(settings, ""), "data": data, "model": model}
            refuse_code(SearchConfig.from_json(settings), named, "autocomp.export")
        found = found / "model.safetensors"
        if not found.exists():
            raise RunError(
                f"A run must be complete to be exported, but {str(path)!r} has no "
                "model.safetensors; resume it first."
            )
    data = _named(settings, "data") if data is None else data
    if data is None:
        raise AutocompError("The data must be known to check an export; give --data.")
    if task is None:
        task = settings.get("task", "classification")
        if str(task).startswith("<"):
            raise RunError(
                "The run was started with its task given as a Python object; give it again, as in "
                "autocomp.export(run, task=...)."
            )
    return found, data, _named(settings, "model") if model is None else model, task


def _named(settings: Mapping[str, Any], name: str) -> str | None:
    """Returns what a run's setting names; None if it names nothing, or a Python object."""
    text = str(settings.get(name, ""))
    return None if not text or text.startswith("<") else text


def _made(network: nn.Module, sizes: Sequence[int]) -> Tensor:
    """Returns a batch of one made-up input; indices for a network that begins with a table."""
    first = next(iter(find_sites(network).values()), None)
    if first is not None and first.kind == "embedding":
        return torch.zeros((1, *sizes), dtype=torch.int64)
    return _random(1, *sizes).to(dtype_of(network))


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
