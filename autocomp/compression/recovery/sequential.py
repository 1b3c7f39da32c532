"""Sequential reconstruction: each layer is recovered for the inputs that it really gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.recovery.gram import Gram, GramSum
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.recovery.unfold import unfolded
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.structured import Inputs, cut
from autocomp.network.prefix_cache import PrefixCache, Reached

RIDGE = 1e-2
"""Pull towards the original weights, as a share of the inputs' mean energy."""


ENOUGH = 4
"""Input vectors per column that a fit needs."""
_CHUNK = 128
"""Images whose unfolded inputs are held at a time."""


class PairedMoments:
    """Moments of a layer's inputs in the dense network, x, and in the compressed one, z.

    Attributes:
        gram: E[z z^T] and E[z].
        cross: float64 `(blocks, width, width)`: E[x z^T].
        mean: float64 `(blocks, width)`: E[x].
    """

    def __init__(self, gram: Gram, cross: Tensor, mean: Tensor) -> None:
        self.gram, self.cross, self.mean = gram, cross, mean

    @property
    def suffices(self) -> bool:
        """Whether enough inputs were seen; a fit to fewer would learn the images by heart."""
        return self.gram.count >= ENOUGH * self.gram.layout.width

    def target(self, weight: Tensor) -> Tensor:
        """Returns the weight V that best maps z to what `weight` made of x, in float64.

        V minimises E |W x - V z|^2 + r |V - W|^2, around the means where the layer is centred:
        V = (W C + r W) (G + r I)^-1 with C = E[x z^T] and G = E[z z^T].

        Args:
            weight: the dense weight, of the layer's shape.
        """
        layout, moment = self.gram.layout, self.gram.moment
        cross = self.cross
        if self.gram.centred:
            cross = cross - self.mean[:, :, None] * self.gram.mean[:, None, :]
        energy = moment.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
        rows, pull = layout.split(weight), RIDGE * energy
        while True:  # products of float32 inputs may have eigenvalues below zero
            ridge = torch.diag_embed(pull[:, None].expand(-1, layout.width))
            lower, failed = torch.linalg.cholesky_ex(moment + ridge)
            if not bool(failed.any()):
                break
            pull = torch.where(failed > 0, 10 * pull, pull)
        solved = torch.cholesky_solve((rows @ (cross + ridge)).transpose(1, 2), lower)
        return layout.join(solved.transpose(1, 2))

    def shift(self, weight: Tensor, new: Tensor) -> Tensor:
        """Returns `(outputs,)`: by how much E[new z] lies above E[weight x]."""
        layout = self.gram.layout
        moved = layout.split(new) @ self.gram.mean[:, :, None]
        moved = moved - layout.split(weight) @ self.mean[:, :, None]
        return moved.reshape(layout.groups, layout.slices, layout.rows).sum(1).reshape(-1)


class PairedRuns:
    """Runs a dense network and a compressed one up to one layer after another.

    What lies before a layer is answered from a cache, so that all layers together take about two
    forward passes. Call in forward order; everything before the layer must be final.

    Args:
        dense: the dense network.
        compressed: the network whose earlier layers are compressed; in evaluation mode, too.
        batches: calibration inputs.
    """

    def __init__(self, dense: nn.Module, compressed: nn.Module, batches: Sequence[Inputs]) -> None:
        self._dense, self._compressed = dense, compressed
        self._chunks = [
            (some, PrefixCache(dense, some), PrefixCache(compressed, some))
            for some in _chunks(batches)
        ]

    def moments(self, layer: LayerSpec, centred: bool) -> PairedMoments | None:
        """Runs both networks up to a layer and returns the paired moments of its inputs.

        Args:
            layer: the layer.
            centred: whether shifts of the layer's outputs are corrected elsewhere.

        Returns:
            None if the layer's inputs cannot be seen.
        """
        return _moments(layer, centred, self._inputs(layer))

    def _inputs(self, layer: LayerSpec) -> Iterator[tuple[Tensor, Tensor]]:
        host = layer.host
        for some, before_dense, before_compressed in self._chunks:
            with before_dense.before(host):
                first = _inputs(self._dense, layer, some)
            with before_compressed.before(host):
                second = _inputs(self._compressed, layer, some)
            # pieces of a wide input come in the same order in both networks
            yield from zip(first, second, strict=True)


def _chunks(batches: Sequence[Inputs]) -> list[Inputs]:
    return [some for images in batches for some in cut(images, _CHUNK)]


def _moments(
    layer: LayerSpec, centred: bool, pairs: Iterable[tuple[Tensor, Tensor]]
) -> PairedMoments | None:
    layout = Layout.of(layer)
    total = GramSum(layout)
    blocks = layout.groups * layout.slices
    cross = torch.zeros(blocks, layout.width, layout.width, dtype=torch.float64)
    mean = torch.zeros(blocks, layout.width, dtype=torch.float64)
    for x, z in pairs:
        total.add(z)
        first, second = layout.cut(x), layout.cut(z)
        if first.dtype != torch.float64:
            first, second = first.float(), second.float()
        cross += (first.transpose(1, 2) @ second).to("cpu", torch.float64)
        mean += first.sum(1).to("cpu", torch.float64)
    gram = total.result()
    if gram is None or not bool(torch.isfinite(cross).all()):
        return None
    if centred:
        gram = gram.centre()
    return PairedMoments(gram, cross / gram.count, mean / gram.count)


@torch.no_grad()
def _inputs(model: nn.Module, layer: LayerSpec, images: Inputs) -> list[Tensor]:
    found: list[Tensor] = []
    calls = 0

    def hook(
        module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        nonlocal calls
        found.extend(unfolded(layer, module, inputs, kwargs))
        calls += 1
        if calls >= layer.calls:
            raise Reached

    host = model.get_submodule(layer.host)
    handle = host.register_forward_hook(hook, with_kwargs=True)
    try:
        with suppress(Reached):
            model(images)
    finally:
        handle.remove()
    return found
