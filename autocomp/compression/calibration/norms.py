"""Batch-norm statistics of a compressed network: corrected by what compression did to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autocomp.core.structured import Inputs
from autocomp.network.prefix_cache import PrefixCache, run_until

Statistics = dict[str, tuple[Tensor, Tensor]]
_DEAD = 1e-6
"""Share of its variance that a channel must keep to count as one that still varies."""


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Returns the batch-norm modules that hold running statistics, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[dict[str, _BatchNorm]]:
    """Lets every batch norm normalise with its own batch; everything is put back afterwards.

    Within, the running statistics hold the plain mean over the batches that were seen.
    """
    norms = batch_norms(model)
    before = {
        name: (m.running_mean.clone(), m.running_var.clone(), m.momentum, m.training)  # type: ignore[union-attr]
        for name, m in norms.items()
    }
    counters = {name: m.num_batches_tracked for name, m in norms.items()}
    try:
        for module in norms.values():
            module.train()
            module.momentum = None  # the plain mean over batches
            # a throw-away counter: the network's own is part of its state dict
            module.num_batches_tracked = torch.zeros((), dtype=torch.long)
            module.running_mean.zero_()  # type: ignore[union-attr]
            module.running_var.fill_(1)  # type: ignore[union-attr]
        yield norms
    finally:
        for name, module in norms.items():
            mean, var, momentum, training = before[name]
            module.running_mean.copy_(mean)  # type: ignore[union-attr]
            module.running_var.copy_(var)  # type: ignore[union-attr]
            module.momentum = momentum
            module.training = training
            module.num_batches_tracked = counters[name]


@torch.no_grad()
def measure(model: nn.Module, batches: Sequence[Inputs]) -> Statistics:
    """Returns each batch norm's input mean and variance over `batches`, front to back.

    Every batch norm normalises with its own batch while it is measured, so that the statistics of a
    deep layer belong to a network whose earlier layers are normalised already. The model, its
    running statistics and its modes are left as they were. A batch of one image has no variance and
    is left out; where there is no other, the running statistics are returned.
    """
    batches = [images for images in batches if len(images) > 1]
    if not batches:
        return running(model)
    with batch_statistics(model):
        for images in batches:
            model(images)
        return running(model)


def corrected(dense: Statistics, measured_dense: Statistics, measured: Statistics) -> Statistics:
    """Returns the running statistics for a compressed network.

    mean' = mean + (mu_c - mu_d) and var' = var * var_c / var_d, where mu and var are measured on
    the same images in the compressed (c) and the dense (d) network. The difference cancels the
    error that a few calibration images make against the statistics of a whole training, which
    plain re-estimation keeps. A channel that compression has made constant (var_c = 0) gets
    mean' = mu_c and keeps its variance, so that it gives the norm's own shift.

    Args:
        dense: the dense network's running statistics.
        measured_dense: its statistics on the calibration images (`measure`).
        measured: the compressed network's on the same images.
    """
    result: Statistics = {}
    for name, (mean, var) in dense.items():
        mu_d, var_d = measured_dense[name]
        mu_c, var_c = measured[name]
        ratio = torch.where(var_d > 1e-12, var_c / var_d.clamp(min=1e-12), torch.ones_like(var_d))
        dead = (var_c <= _DEAD * var_d) & (var_d > 1e-12)
        result[name] = (
            torch.where(dead, mu_c, mean + (mu_c - mu_d)),
            torch.where(dead, var, var * ratio),
        )
    return result


@torch.no_grad()
def install(model: nn.Module, statistics: Statistics) -> None:
    """Writes running statistics into the model's batch norms."""
    norms = batch_norms(model)
    for name, (mean, var) in statistics.items():
        norms[name].running_mean.copy_(mean)  # type: ignore[union-attr]
        norms[name].running_var.copy_(var)  # type: ignore[union-attr]


def running(model: nn.Module) -> Statistics:
    """Returns copies of the model's running statistics."""
    return {
        name: (m.running_mean.clone(), m.running_var.clone())  # type: ignore[union-attr]
        for name, m in batch_norms(model).items()
    }


class NormCorrection:
    """The paired correction on fixed images.

    Args:
        model: the dense network, which is compressed in place later on.
        batches: the images.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Inputs]) -> None:
        self._model = model
        self._batches = batches
        self._dense = running(model)
        self._measured = measure(model, batches) if self._dense else {}

    def sliced(
        self, model: nn.Module, places: Mapping[str, Sequence[int] | None]
    ) -> NormCorrection:
        """Returns the correction of a network that has lost channels, on the same images.

        Args:
            model: the smaller network, which is compressed in place later on.
            places: batch norm -> channels that it has kept; None, or no entry, for all.
        """

        def cut(statistics: Statistics) -> Statistics:
            found = {}
            for name, (mean, var) in statistics.items():
                stay = places.get(name)
                found[name] = (mean, var) if stay is None else (mean[stay], var[stay])
            return found

        made = object.__new__(NormCorrection)
        made._model, made._batches = model, self._batches
        made._dense, made._measured = cut(self._dense), cut(self._measured)
        return made

    def statistics(self) -> Statistics:
        """Returns the corrected statistics of the model as it is now; {} without batch norms."""
        if not self._dense:
            return {}
        return corrected(self._dense, self._measured, measure(self._model, self._batches))

    def front_to_back(self) -> SequentialCorrection:
        """Returns what measures the statistics as far as a network is finished."""
        return SequentialCorrection(self._model, self._batches, self._dense, self._measured)


class SequentialCorrection:
    """The paired correction while a network is recovered front to back.

    Each batch norm is measured once what lies before it is final, and what lies before the layer at
    hand is answered from a cache; so all layers together take about one forward pass, not one each.

    Args:
        model: the network that is recovered.
        batches: the images.
        dense: running statistics of the dense network.
        measured_dense: its statistics on these images.
    """

    def __init__(
        self, model: nn.Module, batches: Sequence[Inputs], dense: Statistics,
        measured_dense: Statistics,
    ) -> None:  # fmt: skip
        self._model = model
        self._dense, self._measured_dense = dense, measured_dense
        several = [images for images in batches if len(images) > 1] if dense else []
        self._caches = [(PrefixCache(model, images), images) for images in several]
        self._found: Statistics = {}

    def before(self, name: str) -> Statistics:
        """Returns the corrected statistics of the batch norms that run before module `name`.

        Everything before it must be final. Call in forward order.
        """
        if not self._caches:
            return {}
        with batch_statistics(self._model) as norms:
            for cache, images in self._caches:
                with cache.before(name):
                    run_until(self._model, name, images)
            seen = [norm for norm, module in norms.items() if int(module.num_batches_tracked)]  # type: ignore[arg-type]
            now = running(self._model)
        self._found.update({norm: now[norm] for norm in seen})
        dense = {norm: self._dense[norm] for norm in self._found}
        return corrected(dense, self._measured_dense, self._found)
