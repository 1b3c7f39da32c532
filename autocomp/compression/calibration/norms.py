"""Batch-norm statistics of a compressed network: corrected by what compression did to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

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


class PooledMoments:
    """Mean and variance of a batch norm's inputs over batches of any size (Chan et al. 1979).

    A forward hook of a norm in training mode whose momentum is 1: its running statistics are then
    those of the batch. Every value has the same weight, whatever batch it came in.

    Attributes:
        n: values of a channel so far.
    """

    def __init__(self) -> None:
        self.n = 0
        self._mean = self._squares = torch.zeros(())

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Adds the batch that the norm has just seen."""
        norm: Any = module
        if not int(norm.num_batches_tracked):
            return  # a cache has answered
        norm.num_batches_tracked.zero_()
        n = output.numel() // output.shape[1]
        mean, unbiased = norm.running_mean.double(), norm.running_var.double()
        self._add(n, mean, unbiased * (n - 1))

    def add(self, other: PooledMoments) -> None:
        """Adds what another has seen."""
        if other.n:
            self._add(other.n, other._mean, other._squares)

    def _add(self, n: int, mean: Tensor, squares: Tensor) -> None:
        delta, total = mean - self._mean, self.n + n
        self._squares = self._squares + squares + delta.square() * (self.n * n / total)
        self._mean = self._mean + delta * (n / total)
        self.n = total

    def statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and unbiased variance, with the type of `like`."""
        var = self._squares / max(1, self.n - 1)
        return self._mean.to(like), var.to(like)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[dict[str, PooledMoments]]:
    """Lets every batch norm normalise with its own batch; everything is put back afterwards.

    Gives the moments of each norm's inputs over the batches that the network sees within.
    """
    norms: dict[str, Any] = batch_norms(model)
    before = {
        name: (m.running_mean, m.running_var, m.momentum, m.training, m.num_batches_tracked)
        for name, m in norms.items()
    }
    found = {name: PooledMoments() for name in norms}
    with ExitStack() as stack:
        try:
            for name, module in norms.items():
                module.train()
                module.momentum = 1.0  # the running statistics are those of the batch
                # throw-away ones: the network's own are part of its state dict
                module.running_mean = torch.zeros_like(module.running_mean)
                module.running_var = torch.ones_like(module.running_var)
                module.num_batches_tracked = torch.zeros((), dtype=torch.long)
                stack.callback(module.register_forward_hook(found[name]).remove)
            yield found
        finally:
            for name, module in norms.items():
                mean, var, momentum, training, counter = before[name]
                module.running_mean, module.running_var = mean, var
                module.momentum, module.training = momentum, training
                module.num_batches_tracked = counter


@torch.no_grad()
def measure(model: nn.Module, batches: Sequence[Inputs]) -> Statistics:
    """Returns each batch norm's input mean and variance over `batches`, front to back.

    Every value weighs the same, however the inputs are cut into batches. Every batch norm
    normalises with its own batch while it is measured, so that the statistics of a deep layer
    belong to a network whose earlier layers are normalised already; that is why batches should be
    of about one size. The model, its running statistics and its modes are left as they were. A
    batch of one image has no variance and is left out; where there is no other, the running
    statistics are returned.
    """
    batches = [images for images in batches if len(images) > 1]
    if not batches:
        return running(model)
    with batch_statistics(model) as moments:
        for images in batches:
            model(images)
    return {**running(model), **pooled(model, moments)}


def pooled(model: nn.Module, moments: Mapping[str, PooledMoments]) -> Statistics:
    """Returns the statistics of the norms that were called."""
    norms: dict[str, Any] = batch_norms(model)
    return {
        name: found.statistics(norms[name].running_mean)
        for name, found in moments.items()
        if found.n
    }


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
        total = {norm: PooledMoments() for norm in self._dense}
        for cache, images in self._caches:
            # a norm runs while the cache is filled, or after that, or both times
            with batch_statistics(self._model) as cached:
                cache.fill(name)
            with batch_statistics(self._model) as seen, cache.before(name):
                run_until(self._model, name, images)
            for norm, moments in total.items():
                moments.add(seen[norm] if seen[norm].n else cached[norm])
        self._found.update(pooled(self._model, total))
        dense = {norm: self._dense[norm] for norm in self._found}
        return corrected(dense, self._measured_dense, self._found)
