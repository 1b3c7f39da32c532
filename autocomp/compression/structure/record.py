"""What a file says of a network's shapes, so that the architecture can be cut to them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.low_rank import Blueprint
from autocomp.compression.structure.heads import HeadAttention
from autocomp.compression.structure.known_attention import is_turned, note_heads
from autocomp.compression.structure.surgery import CONV, TRANSPOSED
from autocomp.errors import ArtifactError, LayerError
from autocomp.plugins.imports import describe

_LONGEST = 64
"""Most searches, one after another, that a file tells of."""
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
        if isinstance(m, HeadAttention) and isinstance(was, (nn.MultiheadAttention, HeadAttention)):
            if isinstance(was, HeadAttention) and was.heads == m.heads:
                continue
            biased, width = m.in_proj.bias is not None, _form_of(was)[0]
            heads[name] = [width, m.heads, m.head_width, biased, m.batch_first]
            with torch.device("meta"):
                made = HeadAttention(width, m.heads, m.head_width, biased, m.batch_first)
            # tokens may be narrower, too
            before.update({f"{name}.{part}": inner for part, inner in made.named_children()})
    sliced = [
        name
        for name, module in after.items()
        if _is_resized(module) and name in before and _shapes(module) != _shapes(before[name])
    ]
    parts = {"heads": heads, "sliced": sliced}
    return {key: value for key, value in parts.items() if value}


def rebuild(
    network: nn.Module, record: Mapping[str, Any], shapes: Mapping[str, Tensor], depth: int = 1
) -> None:
    """Cuts an architecture, in place, to what `record_of` described.

    A search of a network that comes from a search records its own step; "before" holds the earlier
    ones. What a network has already is left as it is.

    Args:
        network: the dense architecture.
        record: what the file says; may be hostile.
        shapes: the file's tensors by state-dict name.
        depth: how many steps were taken back.

    Raises:
        ArtifactError: if the record does not fit the network or the tensors.
    """
    if record.get("before") is not None:
        if depth > _LONGEST:
            raise ArtifactError(
                f"A file may tell of {_LONGEST} searches, but tells of more; write it again."
            )
        if not isinstance(record["before"], dict):
            raise ArtifactError(
                f"A file's record of the search before must be an object, but is "
                f"{record['before']!r:.60}; write the file again."
            )
        rebuild(network, record["before"], shapes, depth + 1)
    try:
        for name, values in dict(record.get("heads", {})).items():
            _replace_heads(network, str(name), list(values))
        for name in list(record.get("sliced", [])):
            _resize(network, str(name), shapes)
        note_heads(network)
        for name, values in dict(record.get("low_rank", {})).items():
            chain = Blueprint.from_json(values)
            _replace_chain(network, str(name), chain, shapes, last=depth == 1)
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
    if isinstance(before, HeadAttention) and isinstance(heads, int) and before.heads <= heads:
        return  # the network that is given has lost its heads already
    known = isinstance(before, (nn.MultiheadAttention, HeadAttention))
    fits = known and all(isinstance(v, int) for v in (width, heads, head_width))
    if fits:
        widest, most, each = _form_of(before)
        # tokens may be narrower by now, where a search came before
        exact = width == widest or isinstance(before, HeadAttention)
        fits = exact and head_width == each
        fits = fits and 0 < heads <= most
    if not fits:
        raise ArtifactError(
            f"The file's record must replace an attention of the network by a smaller one, but "
            f"{name!r} with {values} is none; give the architecture that was compressed."
        )
    parent, _, attribute = name.rpartition(".")
    made = HeadAttention(_form_of(before)[0], heads, head_width, bool(bias), bool(batch_first))
    setattr(network.get_submodule(parent), attribute, made)


def _form_of(attention: Any) -> tuple[int, int, int]:
    """Returns the width of a token, how many heads there are, and the width of one."""
    if isinstance(attention, HeadAttention):
        return attention.in_proj.in_features, attention.heads, attention.head_width
    return attention.embed_dim, attention.num_heads, attention.head_dim


def _replace_chain(
    network: nn.Module, name: str, blueprint: Blueprint, tensors: Mapping[str, Tensor], last: bool
) -> None:
    before = network.get_submodule(name)
    if isinstance(before, nn.Sequential) and len(before) == len(blueprint.layers):
        return  # the network that is given has been taken apart already
    fits = isinstance(before, (*CONV, nn.Linear)) and (
        blueprint.n_weights <= 4 * before.weight.numel() + 4096
    )
    for part, shape in blueprint.shapes.items():
        stored = tensors.get(f"{name}.{part}")
        if last:
            fits = fits and stored is not None and tuple(stored.shape) == shape
        elif stored is not None:  # a later search may have cut it, or taken it apart
            within = (new <= size for new, size in zip(stored.shape, shape, strict=False))
            fits = fits and stored.dim() == len(shape) and all(within)
    if not fits:
        raise ArtifactError(
            f"The file's record must replace a layer by factors that the file holds, but {name!r} "
            "does not fit; give the architecture that was compressed."
        )
    parent, _, attribute = name.rpartition(".")
    made = blueprint.build(dtype=before.weight.dtype)  # type: ignore[arg-type]
    setattr(network.get_submodule(parent), attribute, made)


def _resize(network: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> None:
    module: Any = network.get_submodule(name)
    if name and isinstance(module, nn.Sequential):
        return  # the network that is given has been taken apart already
    if not _is_resized(module):
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
    outputs = module.nf if is_turned(module) else outputs
    lengths = {len(t) for t in (*module._parameters.values(), *module._buffers.values())
               if t is not None and t.dim() == 1}  # fmt: skip
    if len(lengths | ({outputs} - {None})) > 1 or (outputs or 0) % getattr(module, "groups", 1):
        raise ArtifactError(
            f"The file's record must cut all tensors of a module alike, but those of {name!r} do "
            "not fit together; give the architecture that was compressed."
        )


def _is_resized(module: nn.Module) -> bool:
    return isinstance(module, _RESIZED) or is_turned(module)


def _note_sizes(module: Any) -> None:
    """Sets a module's attributes to its tensors' sizes."""
    if isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif is_turned(module):
        module.nx, module.nf = module.weight.shape
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
