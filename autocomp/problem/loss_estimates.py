"""F0: what each choice of each layer is expected to add to the divergence of the outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from autocomp.artifacts.tensors import write_raw
from autocomp.compression.estimates import option_cost
from autocomp.core.choice import Choice
from autocomp.core.stage import OnStage, untold
from autocomp.core.structured import Inputs, leaves_of
from autocomp.network.batches import fitting
from autocomp.problem.sensitivity import (
    POINTS,
    Point,
    divergences,
    gradient_slopes,
    loss_curve,
    measured_choices,
)
from autocomp.problem.subnet import Subnet
from autocomp.tasks import Task

Losses = NDArray[np.float64]
Menus = Sequence[Sequence[Choice]]

_SLOPE_MACS = 1e13
"""Multiply-accumulates up to which every layer's effect is measured."""
_WORTH = 2e12
"""Multiply-accumulates that such measurements are worth, half a minute; fewer images take less."""
_FEWEST = 16
"""Images on which an effect is measured at least."""
_DEAR = 2e9
"""Rows * width^2 from which an option takes seconds, those with zeros most of them.

Of such layers two options without zeros are measured: curves are over the error, whatever made
it."""


class LossEstimates:
    """Measures at about five choices a layer what they do to the outputs, and interpolates.

    The divergence from the dense network's outputs, on calibration images, as a monotone curve over
    each layer's output error; for networks where that would take long, from one backward pass. Kept
    on disk with the tables.

    Args:
        dense: the dense network's subnet, into which choices are written.
        task: what the network is for.
        images: gives the calibration inputs to measure on.
        on_stage: told how far measurements are.
    """

    def __init__(
        self, dense: Subnet, task: Task, images: Callable[[], Inputs], on_stage: OnStage = untold
    ) -> None:
        self._dense = dense
        self._task = task
        self._images, self._on_stage = images, on_stage
        self._known: dict[tuple[object, object], list[Losses]] = {}

    def of(self, menus: Menus) -> list[Losses]:
        """Returns, per layer, the divergence of each choice on its menu."""
        store, asked = self._dense.store, tuple(tuple(menu) for menu in menus)
        store.prepare(menus)
        if (asked, store.trusted) not in self._known:
            made = self._build(menus)
            self._known[asked, store.trusted] = made
        return self._known[asked, store.trusted]

    @property
    def by_gradients(self) -> bool:
        """Whether one backward pass stands for measurements of each layer."""
        return self._measured_images() is None

    def _build(self, menus: Menus) -> list[Losses]:
        store, layers = self._dense.store, self._dense.network.layers
        images = self._measured_images()
        chosen = [[] for _ in layers] if images is None else self._chosen(menus)
        store.trust((x, m[i]) for x, m, c in zip(layers, menus, chosen, strict=True) for i in c)
        errors = [
            [store.error(layer, choice) for choice in menu]
            for layer, menu in zip(layers, menus, strict=True)
        ]
        measured: list[list[Point]] | None = None

        def points(index: int) -> list[Point]:
            nonlocal measured
            if measured is None:  # all layers together: they share the cached prefix
                measured = self._measure(menus, errors, chosen, images)
            return measured[index]

        menu_text = repr(
            [(x.name, [c.to_json() for c in m]) for x, m in zip(layers, menus, strict=True)]
        )
        on = self._images() if images is None else images
        seen = hashlib.sha256(self._task.name.encode())
        for leaf in leaves_of(on):
            seen.update(write_raw(leaf, 32))
        seen.update(menu_text.encode())
        name = f"slopes {len(on)} {seen.hexdigest()[:12]}"
        found = [store.fact(layer, name, partial(points, i)) for i, layer in enumerate(layers)]
        return [loss_curve(p, e) for p, e in zip(found, errors, strict=True)]

    def _measured_images(self) -> Inputs | None:
        """Returns the images to measure on; None where one backward pass has to do."""
        images, network = self._images(), self._dense.network
        images = images[: max(_FEWEST, fitting(images))]  # they are one batch
        macs = POINTS * len(network.layers) / 2 * network.macs * len(images)
        if macs > _SLOPE_MACS:
            return None
        return images[: max(_FEWEST, int(len(images) * min(1.0, _WORTH / max(1.0, macs))))]

    def _chosen(self, menus: Menus) -> list[list[int]]:
        """Returns which options of each layer to measure."""
        store, layers = self._dense.store, self._dense.network.layers
        found = []
        for layer, menu in zip(layers, menus, strict=True):
            errors = [store.first_error(layer, choice) for choice in menu]
            dense = [i for i, c in enumerate(menu) if not (c.weights.sparsity or c.weights.pattern)]
            places = measured_choices([errors[i] for i in dense])
            if option_cost(layer) > _DEAR and len(places) > 1:
                found.append([dense[i] for i in places[-2:]])
            else:
                found.append(measured_choices(errors))
        return found

    def _measure(
        self, menus: Menus, errors: Sequence[Sequence[float]], chosen: Sequence[Sequence[int]],
        images: Inputs | None,
    ) -> list[list[Point]]:  # fmt: skip
        network, model, writer = self._dense.network, self._dense.model, self._dense.writer
        neutral = network.neutral_plan()
        writer.write(neutral)
        if images is None:
            slopes = gradient_slopes(model, network, self._images(), self._task)
            return [[(1.0, slope)] for slope in slopes]
        options = [[menu[i] for i in c] for menu, c in zip(menus, chosen, strict=True)]

        def write(name: str, choice: Choice | None) -> None:
            writer.write(neutral if choice is None else neutral.replace(name, choice))

        found = divergences(
            model, network.layers, options, write, images, self._task, self._on_stage
        )
        return [
            [(e[i], value) for i, value in zip(c, values, strict=True)]
            for e, c, values in zip(errors, chosen, found, strict=True)
        ]
