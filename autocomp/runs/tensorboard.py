"""A search's outcomes as TensorBoard records."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome, best_of
from autocomp.costs import Cost
from autocomp.errors import AutocompError

BOARD = "tensorboard"
"""Folder of the records within a run."""


class TensorBoardWriter:
    """Writes scalars and histograms of each outcome, whatever the agent.

    Per evaluation: quality, loss, divergence, merit, best merit so far, and every budget's share
    that is spent; over the layers, histograms of sparsity, weight bits, channels and rank.
    Finalists come under their level's name (`F2/accuracy` for classifications).

    Args:
        folder: where records go.
        costs: cost name -> cost.
        limits: cost name -> limit.

    Raises:
        AutocompError: if TensorBoard is not installed.
    """

    def __init__(self, folder: Path, costs: Mapping[str, Cost], limits: Mapping[str, int]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of its own dependencies
                from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise AutocompError(
                "`tensorboard` needs the package tensorboard, which is not installed; "
                "pip install 'autocomp[dashboards]', or leave it out."
            ) from None
        self._limits = dict(limits)
        self._references = {name: max(1, cost.reference) for name, cost in costs.items()}
        self._counts: dict[str, int] = {}
        self._best: Outcome | None = None
        self._writer: Any = SummaryWriter(str(folder))

    def record(self, outcome: Outcome) -> None:
        """Writes one outcome and flushes it."""
        level = outcome.fidelity
        step = self._counts[level] = self._counts.get(level, 0) + 1
        scalars = {
            outcome.metric.name: outcome.quality,
            "loss": outcome.loss,
            "divergence": outcome.divergence,
            "merit": outcome.merit,
            **{
                f"{name} of budget": outcome.costs[name] / max(1, limit)
                for name, limit in self._limits.items()
            },
            **{
                f"{name} of dense": value / self._references[name]
                for name, value in outcome.costs.items()
            },
        }
        if level is Fidelity.SCREEN:
            self._best = best_of(o for o in (self._best, outcome) if o is not None)
            if self._best is not None:
                scalars["best merit"] = self._best.merit
                scalars[f"best {outcome.metric.name}"] = self._best.quality
            for name in ("sparsity", "weight_bits", "channels", "rank"):
                values = np.array([float(c.value(name)) for c in outcome.plan.values()])
                self._writer.add_histogram(f"plan/{name}", values, step)
        for name, value in scalars.items():
            self._writer.add_scalar(f"{level}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Flushes and ends the records."""
        self._writer.close()
