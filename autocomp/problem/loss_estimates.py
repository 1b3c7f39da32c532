"""F0: what each choice of each layer is expected to add to the divergence of the outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from autocomp.artifacts.tensors import write_raw
from autocomp.core.choice import Choice
from autocomp.problem.sensitivity import (
    POINTS,
    Point,
    divergences,
    gradient_slopes,
    loss_curve,
    measured_choices,
)
from autocomp.problem.subnet import Subnet

Losses = NDArray[np.float64]
Menus = Sequence[Sequence[Choice]]

_SLOPE_MACS = 1e13
"""Multiply-accumulates up to which every layer's effect is measured: a minute or two."""


class LossEstimates:
    """Measures at about five choices a layer what they do to the outputs, and interpolates.

    The divergence from the dense network's outputs, on calibration images, as a monotone curve over
    each layer's output error; for networks where that would take long, from one backward pass. Kept
    on disk with the tables.

    Args:
        dense: the dense network's subnet, into which choices are written.
        images: gives the calibration inputs to measure on.
    """

    def __init__(self, dense: Subnet, images: Callable[[], Tensor]) -> None:
        self._dense = dense
        self._images = images
        self._known: dict[tuple[tuple[Choice, ...], ...], list[Losses]] = {}

    def of(self, menus: Menus) -> list[Losses]:
        """Returns, per layer, the loss in nats of each choice on its menu."""
        key = tuple(tuple(menu) for menu in menus)
        if key not in self._known:
            self._dense.store.prepare(menus)
            self._known[key] = self._build(menus)
        return self._known[key]

    def _build(self, menus: Menus) -> list[Losses]:
        store, layers = self._dense.store, self._dense.network.layers
        errors = [
            [store.error(layer, choice) for choice in menu]
            for layer, menu in zip(layers, menus, strict=True)
        ]
        images = self._images()
        measured: list[list[Point]] | None = None

        def points(index: int) -> list[Point]:
            nonlocal measured
            if measured is None:  # all layers together: they share the cached prefix
                measured = self._measure(menus, errors, images)
            return measured[index]

        menu_text = repr(
            [(x.name, [c.to_json() for c in m]) for x, m in zip(layers, menus, strict=True)]
        )
        seen = hashlib.sha256(write_raw(images, 32))
        seen.update(menu_text.encode())
        name = f"slopes {len(images)} {seen.hexdigest()[:12]}"
        found = [store.fact(layer, name, partial(points, i)) for i, layer in enumerate(layers)]
        return [loss_curve(p, e) for p, e in zip(found, errors, strict=True)]

    def _measure(
        self, menus: Menus, errors: Sequence[Sequence[float]], images: Tensor
    ) -> list[list[Point]]:
        network, model, writer = self._dense.network, self._dense.model, self._dense.writer
        neutral = network.neutral_plan()
        writer.write(neutral)
        passes = POINTS * len(network.layers) / 2
        if passes * network.macs * len(images) > _SLOPE_MACS:
            return [[(1.0, slope)] for slope in gradient_slopes(model, network, images)]
        chosen = [measured_choices(e) for e in errors]
        options = [[menu[i] for i in c] for menu, c in zip(menus, chosen, strict=True)]

        def write(name: str, choice: Choice | None) -> None:
            writer.write(neutral if choice is None else neutral.replace(name, choice))

        found = divergences(model, network.layers, options, write, images)
        return [
            [(e[i], value) for i, value in zip(c, values, strict=True)]
            for e, c, values in zip(errors, chosen, found, strict=True)
        ]
