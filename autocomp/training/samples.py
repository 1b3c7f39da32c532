"""Training samples in the order, the views and the mixtures that a seed gives."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from autocomp.core.structured import Inputs, leaves_of, moved
from autocomp.errors import TrainingError
from autocomp.network.device import of_type
from autocomp.plugins.imports import call_user
from autocomp.training.augmentation import parse_augmentation
from autocomp.training.setup import TrainingSetup

_OF_THE_WHOLE = ("classification", "multilabel", "embedding")
"""Tasks whose labels are of a whole image, wherever in it things are."""
Mixture = tuple[Inputs, Tensor | None, tuple[Tensor, float] | None]
"""Inputs, labels, and the labels of those that they were mixed with, with the first ones' share."""


class Samples:
    """The samples of each step; they depend on the seed and the step alone.

    Args:
        setup: says which samples, how many a step, and in which views.
        dtype: of inputs that are numbers.
    """

    def __init__(self, setup: TrainingSetup, dtype: torch.dtype) -> None:
        self._setup, self._dtype = setup, dtype
        leaves = leaves_of(setup.train.images)
        # labels that lie in the image, or speak of places in it, would have to move with it
        free = setup.train.labels is None or setup.task.name in _OF_THE_WHOLE
        shape = tuple(leaves[0].shape[1:]) if len(leaves) == 1 and free else ()
        self._augmentation = parse_augmentation(setup.config.augment, shape)
        self._n = len(setup.train)
        self._per_epoch = max(1, self._n // setup.config.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        config = self._setup.config
        return config.steps or max(1, round(config.epochs * self._per_epoch))

    @property
    def repeats(self) -> bool:
        """Whether a view comes again in the same form, so that a teacher's outputs are of use."""
        config = self._setup.config
        epochs = self.steps / self._per_epoch
        return self.fixed and (self._augmentation.is_none or epochs > config.views)

    @property
    def fixed(self) -> bool:
        """Whether a view is the same whenever it comes."""
        return not self._setup.config.mixup and self._setup.change is None

    def of_step(self, step: int) -> tuple[Tensor, int]:
        """Returns the samples of a step, and which view of them."""
        config = self._setup.config
        epoch, at = divmod(step, self._per_epoch)
        order = torch.randperm(self._n, generator=generator(config.seed, "order", epoch))
        size = min(config.batch_size, self._n)
        return order[at * size : (at + 1) * size], epoch % config.views

    def load(self, indices: Tensor, view: int) -> tuple[Inputs, Tensor | None]:
        """Returns a view of some samples, and the task's targets."""
        setup = self._setup
        inputs, labels = setup.train.batch(indices)
        inputs = self._augmentation.view(inputs, indices, view, setup.config.seed)
        if setup.change is not None and isinstance(inputs, Tensor):
            change, given_to = setup.change, inputs
            random = generator(setup.config.seed, f"change {view}", int(indices[0]))
            given: Any = call_user("augment", lambda: change(given_to, random), {}, TrainingError)
            if not isinstance(given, Tensor) or given.shape != inputs.shape:
                raise TrainingError(
                    f"An augmentation must return inputs of shape {tuple(inputs.shape)}, but "
                    f"returned {getattr(given, 'shape', type(given).__name__)}."
                )
            inputs = given
        inputs = moved(inputs, self._placed)
        labels = None if labels is None else labels.to(setup.device)
        return inputs, setup.task.targets(labels, inputs)

    def mixed(self, inputs: Inputs, targets: Tensor | None, random: torch.Generator) -> Mixture:
        """Returns inputs mixed with others of the batch, where the settings want it.

        x = a x_i + (1 - a) x_j, a from Beta(alpha, alpha), the larger share x_i's.
        """
        alpha = self._setup.config.mixup
        if not alpha:
            return inputs, targets, None
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            raise TrainingError(
                "Inputs that are mixed must be one floating-point tensor, but these are not; leave "
                "mixup out."
            )
        with torch.random.fork_rng(devices=[]):  # torch draws Beta from the global numbers alone
            torch.manual_seed(int(torch.randint(1 << 31, (), generator=random)))
            share = float(torch.distributions.Beta(alpha, alpha).sample())
        share = max(share, 1 - share)
        order = torch.randperm(len(inputs), generator=random).to(inputs.device)
        mixture = share * inputs + (1 - share) * inputs[order]
        return mixture, targets, None if targets is None else (targets[order], share)

    def _placed(self, leaf: Tensor) -> Tensor:
        leaf = of_type(leaf, self._dtype).to(self._setup.device)
        if self._setup.channels_last and leaf.dim() == 4:
            return leaf.contiguous(memory_format=torch.channels_last)
        return leaf


def generator(seed: int, what: str, number: int) -> torch.Generator:
    """Returns random numbers that depend on a seed, a purpose and a number alone."""
    digest = hashlib.sha256(f"{seed} {what} {number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
