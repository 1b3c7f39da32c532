"""A sum of losses as a text: "0.9*kd(T=4) + 0.1*task + 100*hints"."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from autocomp.errors import TrainingError
from autocomp.plugins.spec import construct, parse_spec, split_outside
from autocomp.tasks import Task
from autocomp.training.losses.base import Loss, Tap, TrainingBatch

_TERM = re.compile(r"(?:(?P<weight>[\d.]+(?:[eE][+-]?\d+)?)\s*\*\s*)?(?P<name>[\w-]+)"
                   r"(?:\((?P<options>[^()]*)\))?")  # fmt: skip


class Sum(Loss):
    """A weighted sum of losses.

    Args:
        terms: the losses.
        weights: one for each.
    """

    def __init__(self, terms: Sequence[Loss], weights: Sequence[float]) -> None:
        super().__init__()
        self.terms, self.weights = nn.ModuleList(terms), tuple(weights)
        self.needs_labels = any(t.needs_labels for t in terms)
        self.needs_teacher = any(t.needs_teacher for t in terms)

    def check(self, task: Task) -> None:
        """Raises TrainingError if a term does not suit the task."""
        for term in self._losses():
            term.check(task)

    def taps(self, layers: Sequence[str]) -> tuple[Tap, ...]:
        """Returns where the terms look."""
        return tuple(dict.fromkeys(tap for term in self._losses() for tap in term.taps(layers)))

    def build(self, batch: TrainingBatch) -> None:
        """Builds the terms."""
        for term in self._losses():
            term.build(batch)

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the sum."""
        found = [w * term(batch) for w, term in zip(self.weights, self._losses(), strict=True)]
        return torch.stack(found).sum()

    def _losses(self) -> list[Loss]:
        return [term for term in self.terms if isinstance(term, Loss)]


def parse_loss(text: str, find: Callable[[str], Callable[..., Loss]]) -> Sum:
    """Returns the loss that a text describes.

    Args:
        text: terms, joined by "+": NAME, WEIGHT*NAME, or either with (OPTION=VALUE,...).
        find: name -> what makes the loss.

    Raises:
        TrainingError: if the text cannot be read, or a term does not take its options.
        UnknownNameError: if a name stands for nothing.
    """
    terms: list[Loss] = []
    weights: list[float] = []
    for part in _parts(text):
        match = _TERM.fullmatch(part.strip())
        if match is None:
            raise TrainingError(
                f"A loss must read as 0.9*kd(T=4)+0.1*task, but got {part.strip()!r} in {text!r}."
            )
        name, options = match["name"], _options(match["options"] or "")
        made = construct("loss", name, find(name), options, TrainingError)
        if not isinstance(made, Loss):
            raise TrainingError(
                f"A loss must be a subclass of autocomp.training.losses.Loss, but {name!r} is a "
                f"{type(made).__name__}; inherit from Loss."
            )
        try:
            weight = float(match["weight"] or 1)
            if not math.isfinite(weight):
                raise ValueError(weight)
        except ValueError:
            raise TrainingError(
                f"A loss's weight must be a number, but got {match['weight']!r} in {text!r}."
            ) from None
        terms.append(made)
        weights.append(weight)
    return Sum(terms, weights)


def _options(text: str) -> Mapping[str, object]:
    return parse_spec(f"loss:{text}")[1]


def _parts(text: str) -> list[str]:
    """Splits a text at each "+" outside of brackets and exponents."""
    parts: list[str] = []
    for part in split_outside(text, "+"):
        if parts and re.search(r"[\d.][eE]$", parts[-1]):
            parts[-1] += f"+{part}"
        else:
            parts.append(part)
    return parts
