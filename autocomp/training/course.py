"""A training from its first step, or from where it was killed, to its last."""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autocomp.errors import RunError, TrainingError
from autocomp.training.checkpoint import Checkpoint
from autocomp.training.trainer import Trainer

_LOG = logging.getLogger(__name__)
_POINTS = 50
"""Points of a curve."""
_DIVERGED = 2.0
"""A loss that ends so many times above where it began has diverged."""
_STATE_SECONDS = 30.0
"""Between two writings of the state."""


@dataclass
class _Looks:
    """What the looks at search samples have found: the best state, and how long it has stood."""

    utility: float | None = None
    state: dict[str, Tensor] | None = None
    since: int = 0

    def take(self, utility: float, trainer: Trainer) -> None:
        if self.utility is not None and utility <= self.utility:
            self.since += 1
            return
        with trainer.average.in_place():
            held = trainer.network.state_dict()
            self.state = {name: tensor.detach().clone() for name, tensor in held.items()}
        self.utility, self.since = utility, 0


def train(trainer: Trainer) -> None:
    """Trains to the end, from the state on disk where there is one.

    The network is left with the average, or with the best state where the training was to stop
    early.

    Raises:
        TrainingError: if the loss is not finite; the last good state is written then.
        RunError: if the state on disk is of another training.
    """
    setup, config = trainer.setup, trainer.setup.config
    looks, before = _Looks(), 0.0
    if setup.state is not None:
        before = _restore(trainer, looks)
    marks = _marks(trainer.steps, _POINTS)
    looked = _marks(trainer.steps, config.validations if setup.search is not None else 0)
    began = written = time.perf_counter()
    losses: list[float] = []
    curve: list[float] = []
    good: Checkpoint | None = None
    while trainer.step < trainer.steps:
        try:
            losses.append(trainer.advance())
        except TrainingError as error:
            if good is None or setup.state is None:
                raise
            good.write(setup.state)
            raise TrainingError(
                f"{error} The last good state is kept in {str(setup.state)!r}: delete it to train "
                "anew."
            ) from None
        now = time.perf_counter()
        seconds = before + now - began
        if trainer.step in marks or trainer.step in looked:
            quality = None
            if trainer.step in looked:
                quality = trainer.look()
                looks.take(quality, trainer)
            curve.append(sum(losses) / len(losses))
            setup.on_point(trainer.point(curve[-1], seconds, quality))
            losses.clear()
            if setup.state is not None:
                good = _state(trainer, looks, seconds)
                if now - written > _STATE_SECONDS:
                    good.write(setup.state)
                    written = now
        if config.patience and looks.since >= config.patience:
            _LOG.info("stopped after %d of %d steps: no better", trainer.step, trainer.steps)
            break
    _warn_of_divergence(trainer, curve)
    if config.patience and looks.state is not None:
        trainer.network.load_state_dict(looks.state)
    else:
        trainer.average.take()
    trainer.network.eval()


def _warn_of_divergence(trainer: Trainer, curve: Sequence[float]) -> None:
    """Warns where the loss at the end is far above that at the beginning."""
    few = max(1, len(curve) // 10)
    if len(curve) < 20 or sum(curve[-few:]) <= _DIVERGED * sum(curve[:few]):
        return
    lr = float(trainer.optimizer.param_groups[0]["first"])
    warnings.warn(
        f"The loss rose from {sum(curve[:few]) / few:.4g} to {sum(curve[-few:]) / few:.4g} in the "
        f"training: the learning rate, {lr:.2g}, is too large; try lr={lr / 4:.2g}.",
        RuntimeWarning,
        stacklevel=3,
    )


def _marks(steps: int, count: int) -> set[int]:
    """Returns `count` steps, evenly spread, the last one among them."""
    return {max(1, round(steps * (i + 1) / count)) for i in range(count)} if count else set()


def _state(trainer: Trainer, looks: _Looks, seconds: float) -> Checkpoint:
    tensors = {f"network/{k}": t for k, t in trainer.network.state_dict().items()}
    tensors |= {f"loss/{k}": t for k, t in trainer.loss.state_dict().items()}
    groups: dict[str, Any] = trainer.optimizer.state_dict()
    for number, entries in groups["state"].items():
        for key, value in entries.items():
            if value is not None:
                tensors[f"optimizer/{number}/{key}"] = torch.as_tensor(value)
    tensors |= {f"average/{k}": t for k, t in trainer.average.state().items()}
    tensors |= {f"best/{k}": t for k, t in (looks.state or {}).items()}
    values = {
        "identity": trainer.identity(), "step": trainer.step, "seconds": seconds,
        "parts": trainer.parts, "best": looks.utility, "since": looks.since,
        "rate": None if trainer.rate is None else trainer.rate.state(),
    }  # fmt: skip
    return Checkpoint({name: t.detach().clone() for name, t in tensors.items()}, values)


def _restore(trainer: Trainer, looks: _Looks) -> float:
    """Goes on from the state on disk; returns the seconds that were spent before."""
    path = trainer.setup.state
    state = None if path is None else Checkpoint.read(path)
    if state is None:
        return 0.0
    if state.values.get("identity") != trainer.identity():
        raise RunError(
            f"A training goes on with its own settings, network and data, but {str(path)!r} is of "
            "another; delete it to train from the start."
        )
    try:
        return _take(trainer, looks, state)
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise RunError(
            f"A training goes on from its own state, but {str(path)!r} does not fit ({error}); "
            "delete it to train from the start."
        ) from None


def _take(trainer: Trainer, looks: _Looks, state: Checkpoint) -> float:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.tensors.items():
        kind, _, rest = name.partition("/")
        parts.setdefault(kind, {})[rest] = tensor.to(trainer.setup.device)
    trainer.network.load_state_dict(parts.get("network", {}))
    trainer.loss.load_state_dict(parts.get("loss", {}))
    groups: dict[str, Any] = copy.deepcopy(trainer.optimizer.state_dict())
    groups["state"] = {}
    for name, tensor in parts.get("optimizer", {}).items():
        number, _, key = name.partition("/")
        groups["state"].setdefault(int(number), {})[key] = tensor
    trainer.optimizer.load_state_dict(groups)
    trainer.average.restore(parts.get("average", {}))
    values = state.values
    looks.utility = None if values["best"] is None else float(values["best"])
    looks.state, looks.since = parts.get("best"), int(values["since"])
    trainer.step, trainer.parts = int(values["step"]), int(values["parts"])
    if trainer.rate is not None and values["rate"] is not None:
        trainer.rate.restore(values["rate"])
    return float(values["seconds"])
