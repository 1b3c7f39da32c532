"""What a file says of a network's shapes, so that the architecture can be cut to them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.errors import ArtifactError
from autocomp.structure.heads import HeadAttention
from autocomp.structure.surgery import CONV, TRANSPOSED

_LARGEST = 1 << 24
_RESIZED = (*CONV, *TRANSPOSED, nn.Linear, nn.PReLU, nn.modules.batchnorm._BatchNorm)


def record_of(dense: nn.Module, model: nn.Module) -> dict[str, Any]:
    """Describes how `model` was made from `dense`: what was replaced, and which modules shrank.

    Returns:
        "heads": attention module -> [token width, heads, head width, bias, batch first];
        "sliced": modules whose tensors are smaller. Both only if not empty.
    """
    before, after = dict(dense.named_modules()), dict(model.named_modules())
    heads = {
        name: [
            m.in_proj.in_features, m.heads, m.head_width, m.in_proj.bias is not None, m.batch_first
        ]
        for name, m in after.items()
        if isinstance(m, HeadAttention) and not isinstance(before[name], HeadAttention)
    }  # fmt: skip
    sliced = [
        name
        for name, module in after.items()
        if isinstance(module, _RESIZED)
        and name in before
        and _shapes(module) != _shapes(before[name])
    ]
    parts = {"heads": heads, "sliced": sliced}
    return {key: value for key, value in parts.items() if value}


def rebuild(network: nn.Module, record: Mapping[str, Any], shapes: Mapping[str, Tensor]) -> None:
    """Cuts an architecture, in place, to what `record_of` described.

    Args:
        network: the dense architecture.
        record: what the file says; may be hostile.
        shapes: the file's tensors by state-dict name.

    Raises:
        ArtifactError: if the record does not fit the network or the tensors.
    """
    try:
        for name, values in dict(record.get("heads", {})).items():
            _replace_heads(network, str(name), list(values))
        for name in list(record.get("sliced", [])):
            _resize(network, str(name), shapes)
    except ArtifactError:
        raise
    except Exception as error:
        raise ArtifactError(
            "The file's record of slices must fit its network, but "
            f"{type(error).__name__}: {error}; give the architecture that was compressed."
        ) from error


def _replace_heads(network: nn.Module, name: str, values: list[Any]) -> None:
    width, heads, head_width, bias, batch_first = values
    before = network.get_submodule(name)
    sizes = (width, heads, head_width)
    whole = all(isinstance(v, int) and 0 < v < _LARGEST for v in sizes)
    if not isinstance(before, nn.MultiheadAttention) or not whole or width != before.embed_dim:
        raise ArtifactError(
            f"The file's record must replace an attention of the network by a smaller one, but "
            f"{name!r} with {values} is none; give the architecture that was compressed."
        )
    parent, _, attribute = name.rpartition(".")
    made = HeadAttention(width, heads, head_width, bool(bias), bool(batch_first))
    setattr(network.get_submodule(parent), attribute, made)


def _resize(network: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> None:
    module: Any = network.get_submodule(name)
    if not isinstance(module, _RESIZED):
        raise ArtifactError(
            f"The file's record may cut convolutions, linear layers and norms only, but names "
            f"{name!r}, a {type(module).__name__}; give the architecture that was compressed."
        )
    for part, old in (*module._parameters.items(), *module._buffers.items()):
        stored = tensors.get(f"{name}.{part}")
        if old is None or stored is None or stored.shape == old.shape:
            continue
        fits = stored.dim() == old.dim() and all(
            0 < new <= size for new, size in zip(stored.shape, old.shape, strict=True)
        )
        if not fits or stored.shape[2:] != old.shape[2:]:
            raise ArtifactError(
                f"Tensor '{name}.{part}' must be cut out of one of shape {tuple(old.shape)}, but "
                f"the file holds {tuple(stored.shape)}; give the architecture that was compressed."
            )
        empty = torch.empty(tuple(stored.shape), dtype=old.dtype, device=old.device)
        if part in module._buffers:
            module._buffers[part] = empty
        else:
            module._parameters[part] = nn.Parameter(empty, requires_grad=old.requires_grad)
    _note_sizes(module)


def _note_sizes(module: Any) -> None:
    """Sets a module's attributes to its tensors' sizes."""
    if isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        known = module.weight if module.weight is not None else module.running_mean
        module.num_features = len(known)
    else:
        depthwise = module.groups == module.in_channels == module.out_channels > 1
        first, second = module.weight.shape[:2]
        if depthwise:
            module.groups = first
        inputs, outputs = first, second
        if isinstance(module, CONV):
            inputs, outputs = second, first
            module.in_channels, module.out_channels = inputs * module.groups, outputs
        else:
            module.in_channels, module.out_channels = inputs, outputs * module.groups


def _shapes(module: nn.Module) -> list[tuple[int, ...]]:
    tensors = (*module._parameters.values(), *module._buffers.values())
    return [tuple(t.shape) for t in tensors if t is not None]
