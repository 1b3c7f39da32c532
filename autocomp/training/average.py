"""A moving average of what is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Follows parameters; the average of the last steps is often better than the last one.

    Args:
        parameters: what is followed.
        decay: share of the average that stays each step; fewer in the first steps. 0 for none.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = list(parameters), decay
        self._values = [p.detach().clone() for p in self._parameters] if decay else []

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Takes in the parameters as they are after a step."""
        decay = min(self._decay, (step + 1) / (step + 10))
        for held, parameter in zip(self._values, self._parameters, strict=False):
            held.lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the average into the parameters for a while."""
        before = [p.detach().clone() for p in self._parameters[: len(self._values)]]
        self.take()
        try:
            yield
        finally:
            self._write(before)

    def take(self) -> None:
        """Puts the average into the parameters."""
        self._write(self._values)

    def state(self) -> dict[str, Tensor]:
        """Returns what `restore` takes."""
        return {str(number): value for number, value in enumerate(self._values)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from an earlier state; KeyError if it is of others."""
        for number, held in enumerate(self._values):
            held.copy_(state[str(number)])

    @torch.no_grad()
    def _write(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=False):
            parameter.copy_(value)
