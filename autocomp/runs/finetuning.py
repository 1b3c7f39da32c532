"""Training a run's network: from the file of the search to a better one of the same bytes."""

from __future__ import annotations

import logging
import time

from torch import nn

from autocomp.core.outcome import Outcome
from autocomp.core.score import Score
from autocomp.problem.problem import CompressionProblem
from autocomp.problem.tuning import TrainingRequest
from autocomp.runs.folder import Run
from autocomp.runs.summary import Training

_LOG = logging.getLogger(__name__)


def train_in_run(
    problem: CompressionProblem, run: Run, model: nn.Module, data: bytes, best: Outcome,
    request: TrainingRequest, text: str,
) -> tuple[nn.Module, bytes, Training, dict[str, int]]:  # fmt: skip
    """Trains a network, and returns the better one of both on the search split.

    With its file, what was trained, and the costs that differ from those before.

    Args:
        problem: the run's.
        run: its folder, whose training state is taken away at the end.
        model: the network before.
        data: its file.
        best: the outcome of its plan.
        request: how to train.
        text: the same in words.
    """
    began = time.perf_counter()
    trained = problem.train(model, best.plan, request)
    before = Score(best.quality, best.loss, best.n, best.metric, problem.error_of(best))
    after = problem.score_of(trained.network)
    gained = after.metric.utility(after.quality) - before.metric.utility(before.quality)
    kept = gained > 0 or (gained == 0 and after.loss < before.loss)
    points = run.training_points()
    seconds = points[-1].seconds if points else time.perf_counter() - began
    told = Training(
        before, after, kept, points[-1].step if points else 0, round(seconds, 2), len(data),
        trained.flipped, *trained.zeros, text,
    )  # fmt: skip
    _LOG.info(
        "trained in %.1f s: %s %.4f before, %.4f after", seconds, after.metric.name,
        before.quality, after.quality,
    )  # fmt: skip
    run.training_state.unlink(missing_ok=True)
    if not kept:
        return model, data, told, {"size": len(data)}
    return trained.network, trained.data, told, problem.costs_of_trained(best.plan, trained)
