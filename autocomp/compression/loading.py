"""Reading a compressed file back into a network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autocomp.artifacts.container import unpack
from autocomp.artifacts.packed import PackedModel
from autocomp.compression.noted_file import note_file
from autocomp.compression.structure.record import rebuild
from autocomp.errors import ArtifactError
from autocomp.models import MODELS, ModelSource, build_architecture, build_model
from autocomp.network.input_quantizers import strip_quantizers
from autocomp.network.rebinding import copy_network


def load(
    path: str | Path, model: str | nn.Module | Callable[..., nn.Module] | None = None
) -> nn.Module:
    """Returns the network that a compressed file holds, in evaluation mode, ready to run.

    The file names the architecture when it is a built-in one. Code is never taken from a file: an
    `nn.Module` class of yours that it names is used only if your program has imported its module
    already and it needs no arguments; else give `model`.

    Args:
        path: a `model.safetensors` of a run, or the run's folder.
        model: the architecture: a network (copied, its weights do not matter), a name,
            `package.module:attribute`, or a function that builds it.

    Raises:
        ArtifactError: if the file is damaged, or does not fit the architecture.
        ModelError, UnknownNameError: if the architecture cannot be built.
    """
    packed = read(path)
    network = _architecture(packed, model)
    if packed.structure is not None:
        rebuild(network, packed.structure, packed.state_dict())
    _check_fit(packed, network, path)
    network.load_state_dict(packed.state_dict())
    hosts = {layer.name: layer.host for layer in packed.layers}
    for name, quantizer in packed.activations.items():
        network.get_submodule(hosts[name]).register_forward_pre_hook(quantizer)
    note_file(network, packed)
    return network.eval()


def read(path: str | Path) -> PackedModel:
    """Returns the contents of a compressed file without building a network.

    Raises:
        ArtifactError: if there is no such file, or it is damaged.
    """
    file = Path(path)
    if file.is_dir():
        file /= "model.safetensors"
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"The compressed file must be readable, but {str(path)!r} is not "
            f"({error.strerror or error}); name a run's model.safetensors."
        ) from None
    return unpack(data)


def _architecture(
    packed: PackedModel, model: str | nn.Module | Callable[..., nn.Module] | None
) -> nn.Module:
    if isinstance(model, nn.Module):
        copied = copy_network(model)
        strip_quantizers(copied)  # the file says which there are
        return copied
    if isinstance(model, str):
        return build_architecture(ModelSource(model))
    if model is not None:
        return build_model(model)
    if packed.source is None:
        raise ArtifactError(
            "The file does not say how its network is built; give it: load(path, model=network)."
        )
    source = ModelSource.from_json(packed.source)
    known = _imported(source)
    if known is not None:
        return build_model(known)
    if source.name not in MODELS:
        raise ArtifactError(
            f"The file's network is built by {source.name!r}, which a file may not make this "
            f"program import or call; give it: load(path, model={source.name!r}) or --model."
        )
    return build_architecture(source, allow_import=False)


def _imported(source: ModelSource) -> type[nn.Module] | None:
    """The network class that `source` names, if its module is imported already.

    A function is never called: a file could name any that takes no arguments.
    """
    module_name, colon, attribute = source.name.partition(":")
    if not colon or source.options or module_name not in sys.modules:
        return None
    found: Any = sys.modules[module_name]
    for part in attribute.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None


def _check_fit(packed: PackedModel, network: nn.Module, path: str | Path) -> None:
    stored = packed.state_dict()
    wanted = network.state_dict()
    for name in (*wanted, *stored):
        if name not in stored or name not in wanted:
            where = "file" if name not in stored else "network"
            raise ArtifactError(
                f"The network must have the file's tensors, but {name!r} is missing in the {where} "
                f"({str(path)!r}); give the architecture that was compressed."
            )
        if stored[name].shape != wanted[name].shape:
            raise ArtifactError(
                f"Tensor {name!r} must have the network's shape {tuple(wanted[name].shape)}, but "
                f"the file holds {tuple(stored[name].shape)}; give the same architecture."
            )
    modules = dict(network.named_modules())
    for layer in packed.layers:
        if layer.host not in modules:
            raise ArtifactError(f"The network has no module {layer.host!r}, which the file names.")
    for name in (*packed.weights, *packed.side):
        tensor = stored[name]
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ArtifactError(f"The file must hold finite numbers, but {name!r} does not.")
