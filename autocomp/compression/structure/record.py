"""What a file says of a network's shapes, so that the architecture can be cut to them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.low_rank import Blueprint
from autocomp.compression.structure.heads import HeadAttention
from autocomp.compression.structure.surgery import CONV, TRANSPOSED
from autocomp.errors import ArtifactError, LayerError
from autocomp.plugins.imports import describe

_RESIZED = (*CONV, *TRANSPOSED, nn.Linear, nn.PReLU, nn.modules.batchnorm._BatchNorm)


def record_of(dense: nn.Module, model: nn.Module) -> dict[str, Any]:
    """Describes how `model` was made from `dense`: what was replaced, and which modules shrank.

    Returns:
        "heads": attention module -> [token width, heads, head width, bias, batch first];
        "sliced": modules whose tensors are smaller. Both only if not empty.
    """
    before, after = dict(dense.named_modules()), dict(model.named_modules())
    heads = {}
    for name, m in after.items():
        was = before.get(name)
        if isinstance(m, HeadAttention) and isinstance(was, nn.MultiheadAttention):
            biased = m.in_proj.bias is not None
            heads[name] = [was.embed_dim, m.heads, m.head_width, biased, m.batch_first]
            with torch.device("meta"):
                made = HeadAttention(was.embed_dim, m.heads, m.head_width, biased, m.batch_first)
            # tokens may be narrower, too
            before.update({f"{name}.{part}": inner for part, inner in made.named_children()})
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
        for name, values in dict(record.get("low_rank", {})).items():
            _replace_chain(network, str(name), Blueprint.from_json(values), shapes)
    except ArtifactError:
        raise
    except (
        LayerError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise ArtifactError(
            f"The file's record of slices must fit its network, but reading it failed "
            f"({describe(error)}); give the architecture that was compressed."
        ) from error


def _replace_heads(network: nn.Module, name: str, values: list[Any]) -> None:
    width, heads, head_width, bias, batch_first = values
    before = network.get_submodule(name)
    whole = all(isinstance(v, int) for v in (width, heads, head_width))
    if (
        not whole
        or not isinstance(before, nn.MultiheadAttention)
        or (width, head_width) != (before.embed_dim, before.head_dim)
        or not 0 < heads <= before.num_heads
    ):
        raise ArtifactError(
            f"The file's record must replace an attention of the network by a smaller one, but "
            f"{name!r} with {values} is none; give the architecture that was compressed."
        )
    parent, _, attribute = name.rpartition(".")
    made = HeadAttention(width, heads, head_width, bool(bias), bool(batch_first))
    setattr(network.get_submodule(parent), attribute, made)


def _replace_chain(
    network: nn.Module, name: str, blueprint: Blueprint, tensors: Mapping[str, Tensor]
) -> None:
    before = network.get_submodule(name)
    fits = all(
        f"{name}.{part}" in tensors and tuple(tensors[f"{name}.{part}"].shape) == shape
        for part, shape in blueprint.shapes.items()
    )
    if not isinstance(before, (*CONV, nn.Linear)) or not fits:
        raise ArtifactError(
            f"The file's record must replace a layer by factors that the file holds, but {name!r} "
            "does not fit; give the architecture that was compressed."
        )
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, blueprint.build())


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
    outputs = getattr(module, "out_channels", getattr(module, "out_features", None))
    lengths = {len(t) for t in (*module._parameters.values(), *module._buffers.values())
               if t is not None and t.dim() == 1}  # fmt: skip
    if len(lengths | ({outputs} - {None})) > 1 or (outputs or 0) % getattr(module, "groups", 1):
        raise ArtifactError(
            f"The file's record must cut all tensors of a module alike, but those of {name!r} do "
            "not fit together; give the architecture that was compressed."
        )


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
