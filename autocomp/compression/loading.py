"""Reading a compressed file back into a network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.artifacts.container import read_index, unpack
from autocomp.artifacts.index import Index
from autocomp.artifacts.limits import check_declared
from autocomp.artifacts.packed import PackedModel
from autocomp.compression.noted_file import note_file, shapes_of
from autocomp.compression.structure.record import rebuild
from autocomp.errors import ArtifactError
from autocomp.models import MODELS, ModelSource, build_architecture, build_model
from autocomp.models.builder import TooLarge, parameters_up_to
from autocomp.network.quantizers import strip_quantizers
from autocomp.network.rebinding import copy_network
from autocomp.plugins.border import border
from autocomp.storage.reading import read_whole


@border("autocomp.load")
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
    data = _bytes(path)
    index = read_index(data)
    if model is None:  # the file names its network, so its length alone bounds both
        check_declared(index.n_weights, index.exact_bytes, len(data))
    network = _architecture(index, model).eval()  # before its state: it may merge weights here
    _rebuild(network, index)
    _check_fit(index, network, path)
    packed = unpack(data, index.shapes)  # decoded only now: it is what the network needs
    state = packed.state_dict()
    _check_finite(state, (*packed.weights, *packed.side))
    network.load_state_dict(state)
    hosts = {layer.name: layer.host for layer in packed.layers}
    for name, quantizer in packed.activations.items():
        network.get_submodule(hosts[name]).register_forward_pre_hook(quantizer)
    modules = dict(network.named_modules())
    for outputs in packed.outputs.values():
        for output in outputs:
            if output.module not in modules:
                raise ArtifactError(
                    f"The network has no module {output.module!r}, which the file names."
                )
            modules[output.module].register_forward_hook(output)
    note_file(network, packed)
    return network.eval()


@border("Reading a compressed file")
def read(path: str | Path) -> PackedModel:
    """Returns the contents of a compressed file without building a network.

    Raises:
        ArtifactError: if there is no such file, it is damaged, or asks for more than a file of its
            length may hold.
    """
    return unpack(_bytes(path))


def _bytes(path: str | Path) -> bytes:
    file = Path(path)
    if file.is_dir():
        file /= "model.safetensors"
    try:
        return read_whole(file)
    except OSError as error:
        raise ArtifactError(
            f"The compressed file must be readable, but {str(path)!r} is not "
            f"({error.strerror or error}); name a run's model.safetensors."
        ) from None


def _architecture(
    index: Index, model: str | nn.Module | Callable[..., nn.Module] | None
) -> nn.Module:
    if isinstance(model, nn.Module):
        copied = copy_network(model)
        strip_quantizers(copied)  # the file says which there are
        return copied
    if isinstance(model, str):
        return build_architecture(ModelSource(model))
    if model is not None:
        return build_model(model)
    if index.source is None:
        raise ArtifactError(
            "The file does not say how its network is built; give it: load(path, model=network)."
        )
    source = ModelSource.from_json(index.source)
    known = _imported(source)
    if known is not None:
        return build_model(known)
    if source.name not in MODELS:
        raise ArtifactError(
            f"The file's network is built by {source.name!r}, which a file may not make this "
            f"program import or call; give it: load(path, model={source.name!r}) or --model."
        )
    _check_architecture(source, index)
    return build_architecture(source, allow_import=False)


def _check_architecture(source: ModelSource, index: Index) -> None:
    """Raises ArtifactError if an architecture is not the file's, before it takes any memory."""
    most = 2 * len(index.shapes) + 64
    with parameters_up_to(most), torch.device("meta"):
        try:
            plain = build_architecture(source, allow_import=False)
            _rebuild(plain, index)
        except TooLarge:
            raise ArtifactError(
                f"The file's network must have its {len(index.shapes)} tensors, but "
                f"{source.name!r} with its options has more; the file is damaged or hostile."
            ) from None
    _check_fit(index, plain, source.name)


def _rebuild(network: nn.Module, index: Index) -> None:
    if index.structure is not None:
        described = {n: torch.empty(s, device="meta") for n, s in index.shapes.items()}
        rebuild(network, index.structure, described)


def _imported(source: ModelSource) -> type[nn.Module] | None:
    """The network class that `source` names, if its module is imported already.

    A function is never called: a file could name any that takes no arguments. Nor is anything
    looked up that a module or a class would make on demand.
    """
    module_name, colon, attribute = source.name.partition(":")
    if not colon or source.options or module_name not in sys.modules:
        return None
    found: Any = sys.modules[module_name]
    for part in attribute.split("."):
        if not isinstance(found, (ModuleType, type)):
            return None
        found = found.__dict__.get(part)
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None


def _check_fit(index: Index, network: nn.Module, path: str | Path) -> None:
    stored = index.shapes
    wanted = shapes_of(network)
    for name in (*wanted, *stored):
        if name not in stored or name not in wanted:
            where = "file" if name not in stored else "network"
            raise ArtifactError(
                f"The network must have the file's tensors, but {name!r} is missing in the {where} "
                f"({str(path)!r}); give the architecture that was compressed."
            )
        if stored[name] != wanted[name]:
            raise ArtifactError(
                f"Tensor {name!r} must have the network's shape {wanted[name]}, but the file holds "
                f"{stored[name]}; give the same architecture."
            )
    modules = dict(network.named_modules())
    for layer, _ in index.layers:
        if layer.host not in modules:
            raise ArtifactError(f"The network has no module {layer.host!r}, which the file names.")


def _check_finite(state: Mapping[str, Tensor], names: Iterable[str]) -> None:
    for name in names:
        tensor = state[name]
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ArtifactError(f"The file must hold finite numbers, but {name!r} does not.")
