"""Networks by name, their weights, and how a network is built again.

Another package adds one through the entry-point group `autocomp.models`: a function or class that
returns an `nn.Module`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from autocomp.errors import ModelError, UnknownNameError, unknown
from autocomp.models.builder import (
    ModelSource,
    call_factory,
    check_options,
    import_path,
    note_source,
    noted_source,
    source_of,
    user_factory,
)
from autocomp.models.digits_cnn import digits_cnn, train_digits
from autocomp.models.mlp import mlp
from autocomp.models.mobilenet_v2 import mobilenetv2
from autocomp.models.resnet_cifar import resnet20, resnet32, resnet44, resnet56, resnet110
from autocomp.models.vgg import vgg11, vgg13, vgg16
from autocomp.models.vit import vit
from autocomp.models.weights import load_weights
from autocomp.plugins.imports import is_import_spec
from autocomp.plugins.registry import Factory, find, names

__all__ = [
    "GROUP",
    "MODELS",
    "ModelSource",
    "build_architecture",
    "build_model",
    "default_weights",
    "load_weights",
    "note_source",
    "noted_source",
    "source_of",
    "train_digits",
]

GROUP = "autocomp.models"
MODELS: dict[str, Factory] = {
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "vgg11": vgg11,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "mobilenetv2": mobilenetv2,
    "vit": vit,
    "mlp": mlp,
    "digits": digits_cnn,
}


def default_weights(name: str) -> Callable[..., nn.Module] | None:
    """Returns what trains the model `name` in seconds, or None: only "digits" has that."""
    return train_digits if name == "digits" else None


def build_model(
    spec: str | nn.Module | Callable[..., nn.Module],
    weights: str | Path | None = None,
    *,
    require_weights: bool = False,
    **options: Any,
) -> nn.Module:
    """Returns the network that `spec` stands for, in eval mode, with its source noted on it.

    Args:
        spec: a name in `MODELS` or of a plug-in; `package.module:attribute`, a function or class
            of the user's that returns the network; such a function or class itself; or a network,
            which is returned as it is (weights are loaded into it, if given).
        weights: a file for `load_weights`. Without one, "digits" is trained here (seconds), a
            user's function may return a trained network, and the others have seeded random
            weights.
        require_weights: raise rather than give a network of this package with random weights.
        **options: keyword arguments of the factory, for instance `num_classes=100`.

    Raises:
        UnknownNameError: if nothing has that name; the nearest one is suggested.
        ModelError: if the network cannot be built, or the weights are missing or do not fit.
    """
    if isinstance(spec, nn.Module):
        if options:
            raise ModelError(
                f"A network that is built already takes no options, but got {sorted(options)}. "
                "Give the function that builds it, or leave them out."
            )
        model = spec
    elif isinstance(spec, str):
        train = default_weights(spec) if weights is None else None
        if require_weights and weights is None and train is None and spec in MODELS:
            raise ModelError(f"model {spec!r} needs trained weights: give --weights FILE.")
        architecture = _factory(spec)
        check_options(spec, architecture, options)
        model = call_factory(spec, train or architecture, options).eval()
        note_source(model, spec, options)
    else:
        path = import_path(spec)
        name = path or str(getattr(spec, "__qualname__", f"{spec!r:.60}"))
        model = call_factory(name, spec, options).eval()
        if path:
            note_source(model, path, options)
    if weights is not None:
        load_weights(model, weights)
    return model


def build_architecture(source: ModelSource, *, allow_import: bool = True) -> nn.Module:
    """Returns the network of `source` in eval mode, untrained, with the source noted on it.

    Args:
        source: what `source_of` gave, perhaps in another process.
        allow_import: whether a source of the form `package.module:attribute` may be imported and
            called. That runs code: set it to False for a source from somebody you do not trust.

    Raises:
        UnknownNameError: if nothing has its name.
        ModelError: if the network cannot be built, or would need an import that is not allowed.
    """
    if not allow_import and is_import_spec(source.name):
        raise ModelError(
            f"The network comes from {source.name!r}, and importing it runs that code. "
            "Allow it if you trust the file, or give the network yourself."
        )
    model = call_factory(source.name, _factory(source.name), source.options).eval()
    note_source(model, source.name, source.options)
    return model


def _factory(name: str) -> Factory:
    if name in names(MODELS, GROUP):
        return find("model", name, MODELS, GROUP)
    if is_import_spec(name):
        return user_factory(name)
    raise UnknownNameError(
        f"{unknown('model', name, names(MODELS, GROUP))} Your own: `my_package.my_module:MyNet`."
    )
