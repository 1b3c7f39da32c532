"""The index of a file: which tensors it holds, as deflated JSON that names only what is special.

`Index.of` a packed model, `to_bytes`, `from_bytes`. A layer whose weight is float32, called
`<layer>.weight`, and called with inputs of its own is `[name, shape]`; a fused batch norm is
`[name, channels, 1]`. Deflating starts with a dictionary of common names, so that the index of a
network of 20 to 60 layers takes 20 to 450 bytes instead of some thousand.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autocomp.artifacts.deflate import deflate, inflate
from autocomp.artifacts.fused_norm import PARTS
from autocomp.artifacts.limits import check_depth, index_bytes, shape_of, text_of
from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.artifacts.tensors import dtype_name, dtype_named
from autocomp.core.plan import Plan
from autocomp.core.quantized import Quantized
from autocomp.errors import ArtifactError

_COUNTER = "num_batches_tracked"
_USUAL = "float32"


@dataclass(frozen=True)
class Described:
    """What is known of a tensor before its values: name, shape and dtype.

    `wide` says that a side tensor is held in full, whatever the plan.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    wide: bool = False

    @classmethod
    def of(cls, name: str, tensor: Quantized | Tensor, wide: bool = False) -> Described:
        """Describes a tensor; ArtifactError if files do not hold its dtype."""
        if isinstance(tensor, Quantized):
            return cls(name, tuple(tensor.codes.shape), torch.float32)
        dtype_name(tensor.dtype)
        return cls(name, tuple(tensor.shape), tensor.dtype, wide)

    def to_json(self) -> list[Any]:
        """Returns [name, shape], the dtype's name if it is not float32, and 1 if it is wide."""
        kind = dtype_name(self.dtype)
        more = [kind, 1] if self.wide else [] if kind == _USUAL else [kind]
        return [self.name, list(self.shape), *more]

    @classmethod
    def from_json(cls, values: list[Any]) -> Described:
        """Reads `to_json`'s list."""
        name, shape, kind = (*values, _USUAL)[:3]
        return cls(text_of(name), shape_of(shape), dtype_named(text_of(kind)), len(values) > 3)

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Index:
    """Everything in a file beside numbers, in the order in which the numbers stand.

    Attributes:
        layers: the plan's layers, and the shape and dtype of their weights.
        norms: the weights of the batch norms that can be fused, under the modules' names.
        side: biases and other normalisation.
        exact: what is stored unchanged.
        aliases: state-dict name of a tied tensor -> the name that is stored.
        source: how the architecture is built, or None.
        structure: how it was sliced and taken apart, or None.
        history: the plans of earlier searches.
    """

    layers: tuple[tuple[LayerEntry, Described], ...]
    norms: tuple[Described, ...]
    side: tuple[Described, ...]
    exact: tuple[Described, ...]
    aliases: dict[str, str]
    source: dict[str, Any] | None
    structure: dict[str, Any] | None = None
    history: tuple[Plan, ...] = ()

    @classmethod
    def of(cls, model: PackedModel) -> Index:
        """Describes a packed model; ArtifactError for a dtype that files do not hold."""
        fused = {f"{name}.{part}" for name in model.norms for part in PARTS}
        counters = [f"{name}.{_COUNTER}" for name in model.norms]
        exact = [name for name in counters if _is_counter(model, name)]
        exact += [name for name in model.exact if name not in exact]
        return cls(
            layers=tuple(
                (x, Described.of(x.parameter, model.weights[x.parameter])) for x in model.layers
            ),
            norms=tuple(Described.of(x, model.side[f"{x}.weight"]) for x in model.norms),
            side=tuple(
                Described.of(k, t, k in model.wide) for k, t in model.side.items() if k not in fused
            ),
            exact=tuple(Described.of(name, model.exact[name]) for name in exact),
            aliases=dict(model.aliases),
            source=None if model.source is None else dict(model.source),
            structure=None if model.structure is None else dict(model.structure),
            history=model.history,
        )

    def to_bytes(self) -> bytes:
        """Returns the index, deflated."""
        # a batch norm's counter is said with it, by a 1
        counters = {x.name for x in self.exact if x.shape == () and x.dtype == torch.int64}
        counted = counters & {f"{x.name}.{_COUNTER}" for x in self.norms}
        norms = [
            [x.name, *x.shape, int(f"{x.name}.{_COUNTER}" in counted), *x.to_json()[2:]]
            for x in self.norms
        ]
        entries = [
            [_layer_to_json(*layer) for layer in self.layers],
            norms,
            [x.to_json() for x in self.side],
            [x.to_json() for x in self.exact if x.name not in counted],
            self.aliases,
            self.source,
            *([] if self.structure is None and not self.history else [self.structure]),
            *([[plan.to_json() for plan in self.history]] if self.history else []),
        ]
        return deflate(json.dumps(entries, separators=(",", ":")).encode())

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        """Reads `to_bytes`; any exception if the bytes are none. Nothing is allocated."""
        entries = json.loads(inflate(data, index_bytes(len(data))))
        check_depth(entries)
        layers, norms, side, exact, aliases, source, *more = entries
        structure, history = (*more, None, None)[:2]
        counters = [f"{x[0]}.{_COUNTER}" for x in norms if x[2]]
        found = cls(
            layers=tuple(_layer_from_json(x) for x in layers),
            norms=tuple(Described.from_json([x[0], [x[1]], *x[3:]]) for x in norms),
            side=tuple(Described.from_json(x) for x in side),
            exact=(
                *(Described(name, (), torch.int64) for name in counters),
                *(Described.from_json(x) for x in exact),
            ),
            aliases={text_of(alias): text_of(owner) for alias, owner in aliases.items()},
            source=None if source is None else dict(source),
            structure=None if structure is None else dict(structure),
            history=tuple(Plan.from_json(plan) for plan in history or ()),
        )
        found._check_names()
        return found

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor by its state-dict name, tied ones too."""
        stored = {x.name: x.shape for x in (*(w for _, w in self.layers), *self.side, *self.exact)}
        for norm in self.norms:
            stored.update({f"{norm.name}.{part}": norm.shape for part in PARTS})
        return {**stored, **{alias: stored[owner] for alias, owner in self.aliases.items()}}

    @property
    def exact_bytes(self) -> int:
        """Length of the unchanged tensors' values."""
        return sum(x.count * x.dtype.itemsize for x in self.exact)

    @property
    def n_weights(self) -> int:
        """Number of the layers' weights, and of the numbers of fused norms."""
        described = (*(weight for _, weight in self.layers), *self.norms)
        # a dimension of none may stand beside a large one, along which there are scales
        return sum(math.prod(max(size, 1) for size in x.shape) for x in described)

    def _check_names(self) -> None:
        """Raises ArtifactError if a name stands twice, or a tied tensor's owner is missing."""
        names = [weight.name for _, weight in self.layers]
        names += [x.name for x in (*self.side, *self.exact)]
        names += [f"{norm.name}.{part}" for norm in self.norms for part in PARTS]
        names += self.aliases
        plans = [layer.name for layer, _ in self.layers]
        for kind, found in (("tensor", names), ("layer", plans)):
            if len(set(found)) < len(found):
                twice = Counter(found).most_common(1)[0][0]
                raise ArtifactError(
                    f"A file must name each {kind} once, but names {twice!r} twice."
                )
        known = set(names) - set(self.aliases)
        for alias, owner in self.aliases.items():
            if owner not in known:
                raise ArtifactError(
                    f"A file must hold what its tensors are tied to, but {alias!r} is tied to "
                    f"{owner!r}, which it does not; write the file again."
                )


def _is_counter(model: PackedModel, name: str) -> bool:
    tensor = model.exact.get(name)
    return tensor is not None and tensor.dtype == torch.int64 and tensor.dim() == 0


def _layer_to_json(layer: LayerEntry, weight: Described) -> list[Any]:
    special = [weight.name, layer.host, dtype_name(weight.dtype)]
    usual = [f"{layer.name}.weight", layer.name, _USUAL]
    return [layer.name, list(weight.shape), *([] if special == usual else special)]


def _layer_from_json(values: list[Any]) -> tuple[LayerEntry, Described]:
    name = text_of(values[0])
    usual = [name, values[1], f"{name}.weight", name, _USUAL]
    _, shape, parameter, host, kind = usual if len(values) == 2 else values
    entry = LayerEntry(name, text_of(parameter), text_of(host))
    return entry, Described.from_json([parameter, shape, kind])
