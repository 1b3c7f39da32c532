"""How a problem judges plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from autocomp.compression.weights.pipeline import Pipeline
from autocomp.core.fidelity import Fidelity
from autocomp.core.stage import OnStage, untold
from autocomp.tasks import Classification, Task
from autocomp.training import TrainingConfig


@dataclass(frozen=True)
class ProblemSettings:
    """How plans are judged.

    Attributes:
        keep: names of layers to leave alone.
        search_images: size of the fixed subset of the search split that F1 scores on.
        batch_size: images per forward pass.
        device: where the network runs ("cpu", "cuda").
        correction_images: size of the fixed subset of the calibration images on which F1 corrects
            batch-norm statistics; F2 takes all of them.
        slope_images: size of the subset on which a layer's effect on the outputs is measured.
        min_utilisation: share of the budget that a search layer by layer has to spend, see
            `Completions`.
        pipeline: what compresses a weight.
        cache: folder of tables of compressed layers, or None to keep none on disk.
        unit_step: channels stay in multiples of this.
        decomposition: how ranks are lowered, a name of `autocomp decompositions`.
        task: what the network is for.
        tuning: the short training of the level TUNED.
        screening: what is done to a plan before F1 scores it: nothing more than the tables hold
            (`SCREEN`), a reconstruction (`RECONSTRUCTED`) or the short training (`TUNED`). The
            nearer to what is handed back, the more a search learns of that, and the slower it is.
        on_stage: told how far the work before the first evaluation is.
    """

    keep: tuple[str, ...] = ()
    search_images: int = 1000
    correction_images: int = 96
    slope_images: int = 256
    batch_size: int = 500
    device: str = "cpu"
    min_utilisation: float = 0.95
    pipeline: Pipeline = field(default_factory=Pipeline)
    cache: Path | None = None
    unit_step: int = 1
    decomposition: str = "data-svd"
    task: Task = field(default_factory=Classification)
    tuning: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=200))
    screening: Fidelity = Fidelity.SCREEN
    on_stage: OnStage = untold
