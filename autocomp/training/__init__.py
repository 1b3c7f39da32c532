"""Training a compressed network within its plan: what recovers it by gradient.

`trainable` makes a network from a file trainable in any loop, `freeze` plain again. `finetune` is
the whole way: codes, zeros, ranks and widths as the plan has them, the file within its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from autocomp.core.structured import Inputs
from autocomp.training.config import TrainingConfig
from autocomp.training.course import train
from autocomp.training.curve import OnPoint, TrainingPoint, untold
from autocomp.training.finish import Trained, finished
from autocomp.training.losses import LOSSES, Loss, TrainingBatch, make_loss
from autocomp.training.setup import TrainingSetup
from autocomp.training.trainable import freeze, is_trainable, trainable
from autocomp.training.trainer import Trainer

__all__ = [
    "LOSSES",
    "Loss",
    "OnPoint",
    "Trained",
    "TrainingBatch",
    "TrainingConfig",
    "TrainingPoint",
    "TrainingSetup",
    "finetune",
    "freeze",
    "is_trainable",
    "make_loss",
    "trainable",
    "untold",
]


def finetune(setup: TrainingSetup, inputs: Sequence[Inputs]) -> Trained:
    """Trains a compressed network and makes its file.

    Args:
        setup: what the training is given.
        inputs: batches on which batch norms are looked at before they are rounded.

    Raises:
        TrainingError: if it cannot begin, or meets numbers that are not finite.
        BudgetError: if the file cannot meet its limit.
        RunError: if the state on disk is of another training.
    """
    trainer = Trainer(setup)
    train(trainer)
    return finished(trainer, inputs)
