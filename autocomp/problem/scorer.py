"""Scoring networks on the search split, beside the dense network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autocomp.core.fidelity import Fidelity
from autocomp.core.metric import Metric
from autocomp.core.score import Score
from autocomp.errors import DataError
from autocomp.network.batches import Batches, InputsOf
from autocomp.network.scoring import Reference, Tally, predictions
from autocomp.tasks import Task
from autocomp.tasks.paired import is_behind

_ENOUGH = 0.25
"""Share of the whole split that must be left for finalists to be compared on it alone."""
_LOOKS = 10
"""How often a challenger is compared with the best so far, see `paired.is_behind`."""


@dataclass(frozen=True)
class ComparedScore:
    """A score, and the divergence and the gap of the outputs from the dense network's.

    Attributes:
        score: on all samples of the level.
        divergence: on them.
        gap: on them.
        held_out: the figure on those of the whole split that F1 does not use; None at F1, and where
            there are few.
    """

    score: Score
    divergence: float
    gap: float
    held_out: float | None = None


class Scorer:
    """Scores networks on fixed samples, and remembers what the dense network makes of them.

    Args:
        dense: the dense network.
        splits: level ("F1", "F2") -> its samples.
        task: what the networks are for.
        held_out: which samples of F2 are not among those of F1, `(n,)`; finalists are compared on
            them. All count where those are less than a quarter.
    """

    def __init__(
        self, dense: nn.Module, splits: Mapping[Fidelity, Batches], task: Task,
        held_out: Tensor | None = None,
    ) -> None:  # fmt: skip
        some = held_out is not None and float(held_out.double().mean()) >= _ENOUGH
        self._held_out = held_out if some else None
        self._dense = dense
        self._splits = splits
        self._task = task
        self._scores: dict[Fidelity, Score] = {}
        self._references = {
            level: Reference(dense, InputsOf(batches), task) for level, batches in splits.items()
        }
        self._rows: dict[tuple[str, Fidelity], Tensor] = {}

    def dense_score(self, level: Fidelity) -> Score:
        """Returns the dense network's score."""
        if level not in self._scores:
            tally = Tally(self._task)
            parts = predictions(self._dense, self._splits[level], self._task)
            for part, dense in zip(parts, self._references[level], strict=True):
                tally.add(part, dense)
            found = tally.score()
            self._scores[level] = tally.score(self._task.metric.of_dense(found.quality))
        return self._scores[level]

    def metric(self, level: Fidelity) -> Metric:
        """Returns the metric, which knows the dense network's figure."""
        return self.dense_score(level.images).metric

    def dense_outputs(self, level: Fidelity) -> Tensor:
        """Returns the dense network's outputs, `(n, ...)`."""
        return torch.cat(list(self._references[level]))

    def outputs(self, model: nn.Module, level: Fidelity) -> Tensor:
        """Returns a network's outputs, `(n, ...)`."""
        parts = predictions(model, self._splits[level], self._task)
        return torch.cat([part.outputs for part in parts])

    def shares(self, key: str, fidelity: Fidelity = Fidelity.FULL) -> Tensor | None:
        """Returns each sample's share in a network's figure; None if it was not judged so."""
        rows = self._rows.get((key, fidelity))
        return None if rows is None else self._task.measure.shares(rows)

    def judge(
        self, model: nn.Module, fidelity: Fidelity, key: str, best: str | None = None
    ) -> ComparedScore | None:
        """Scores a network as it is; remembers what it makes of each sample of the whole split.

        Args:
            model: the network.
            fidelity: "F1", "F2" or "F2S".
            key: identifies what was written into it.
            best: key of a network that was judged on the whole split, as `fidelity` says; None is
                returned as soon as this one is significantly behind, sample by sample.
        """
        level = fidelity.images
        metric = self.metric(level)
        tally = Tally(self._task)
        parts = predictions(model, self._splits[level], self._task)
        step = max(1, len(self._splits[level]) // _LOOKS)
        seen, look = 0, step
        for part, dense in zip(parts, self._references[level], strict=True):
            tally.add(part, dense)
            seen += len(part.outputs)
            if best is not None and seen >= look:
                look = seen + step
                if self._is_behind(tally.rows(), (best, fidelity), metric):
                    return None
        if level is Fidelity.FULL:
            self._rows[key, fidelity] = tally.rows()
        held_out = self._on_held_out(tally.rows()) if level is Fidelity.FULL else None
        return ComparedScore(tally.score(metric), tally.divergence, tally.gap, held_out)

    def _on_held_out(self, rows: Tensor) -> float | None:
        if self._held_out is None:
            return None
        try:
            value = self._task.measure.value(rows[self._held_out])
        except DataError:  # a figure of the user's own has no value on some samples
            return None
        return value if math.isfinite(value) else None

    def _is_behind(self, rows: Tensor, best: tuple[str, Fidelity], metric: Metric) -> bool:
        shares = self._task.measure.shares
        other = self._rows[best][: len(rows)]
        if self._held_out is not None:
            some = self._held_out[: len(rows)]
            rows, other = rows[some], other[some]
            if not len(rows):
                return False
        try:
            return is_behind(shares(rows), shares(other), metric.larger_is_better)
        except DataError:  # a figure of the user's own has no value on some samples
            return False
