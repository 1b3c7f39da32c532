"""How a network is trained within its plan."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from autocomp.errors import TrainingError, unknown
from autocomp.plugins.spec import split_outside
from autocomp.training.augmentation import parse_augmentation
from autocomp.training.losses import make_loss
from autocomp.training.trainable import MASKS, SCALES

OPTIMIZERS = ("auto", "adam", "adamw", "sgd")
NORMS = ("auto", "fused", "train", "frozen")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines a training beside network, data and task.

    Attributes:
        epochs: passes over the training samples; parts of one count.
        steps: steps in all; 0 for what `epochs` says.
        batch_size: samples of a step.
        loss: what is minimised, see `autocomp.training.losses`; "" for distillation, and a tenth of
            the task's own loss where there are labels.
        optimizer: "adam" (0.9, 0.99), "adamw", "sgd" (momentum 0.9), or "auto": Adam for codes, SGD
            for weights that stay floating.
        lr: learning rate of codes, in units of a code, or of floating weights; 0 for 6e-3 with
            Adam, 0.01 with SGD.
        side_lr: of norms, biases and whatever else; 0 for half of `lr`.
        weight_decay: of floating weights.
        warmup: share of the steps in which the learning rate rises; it falls as a cosine after.
        clip: largest norm of all gradients together; 0 for none.
        average: decay of the moving average of what is trained, which is handed back; 0 for none.
        masks: "free" (zeros may become other codes while the bytes hold) or "fixed".
        scales: "fixed" or "learned".
        norms: batch norms: "fused" (gain and shift of an evaluation), "train" (statistics of each
            batch), "frozen", or "auto": "train" where nothing is quantized.
        augment: views of images: "crop4+flip+cutout8", "none", or "auto": crops and mirror images
            of photographs, where labels are of the whole image.
        views: different views of each sample; an epoch sees one.
        mixup: parameter alpha of the mixing of inputs (Zhang et al. 2018, arXiv:1710.09412); 0 for
            none.
        validations: how often the network is scored on search samples on the way.
        patience: validations without an improvement after which it stops, and goes back to the
            best; 0 to go on to the end. A loss that rises in the middle often falls at the end.
        precision: "bfloat16" for mixed precision, "auto": where the device is no processor.
        seed: of order, views and noise.

    Raises:
        TrainingError: for a value out of its range.
    """

    epochs: float = 1.0
    steps: int = 0
    batch_size: int = 64
    loss: str = ""
    optimizer: str = "auto"
    lr: float = 0.0
    side_lr: float = 0.0
    weight_decay: float = 0.0
    warmup: float = 0.1
    clip: float = 0.0
    average: float = 0.0
    masks: str = "free"
    scales: str = "fixed"
    norms: str = "auto"
    augment: str = "auto"
    views: int = 5
    mixup: float = 0.0
    validations: int = 0
    patience: int = 0
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks every value."""
        for f in fields(self):
            value = getattr(self, f.name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            right = {
                float: number and math.isfinite(value) if number else False,
                int: isinstance(value, int) and not isinstance(value, bool),
                str: isinstance(value, str),
            }[type(f.default)]
            if right and isinstance(f.default, float):
                object.__setattr__(self, f.name, float(value))
            if not right:
                raise TrainingError(
                    f"`{f.name}` must be a {_WORDS[type(f.default)]}, but got {value!r:.60}."
                )
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise TrainingError(
                    f"`{least} <= {name} <= {most}` must hold, but got {name}={value}."
                )
        for name, known in _KNOWN.items():
            if getattr(self, name) not in known:
                raise TrainingError(unknown(name, getattr(self, name), known))
        if self.steps == 0 and self.epochs <= 0:
            raise TrainingError("A training must have steps, but epochs=0 and steps=0; give one.")
        if self.patience and not self.validations:
            raise TrainingError("`patience` counts validations, but validations=0; set it, too.")
        parse_augmentation(self.augment)
        if self.loss:
            make_loss(self.loss)

    @classmethod
    def of(cls, text: str) -> TrainingConfig:
        """Reads "3" (epochs) or "epochs=3,batch_size=128,masks=fixed".

        Raises:
            TrainingError: for an unknown setting, or a value out of range.
        """
        values: dict[str, Any] = {}
        kinds: dict[str, Any] = {f.name: type(f.default) for f in fields(cls)}
        for part in filter(None, (p.strip() for p in split_outside(text, ","))):
            name, equals, value = part.partition("=")
            if not equals:
                name, value = "epochs", part
            if name not in kinds:
                raise TrainingError(unknown("setting of a training", name, kinds))
            try:
                values[name] = kinds[name](value)
            except ValueError:
                raise TrainingError(
                    f"`{name}` must be a {_WORDS[kinds[name]]}, but got {value!r} in {text!r}."
                ) from None
        return cls(**values)


_WORDS = {int: "whole number", float: "finite number", str: "text"}
_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (0, 1e6), "steps": (0, 1 << 40), "batch_size": (1, 1 << 20), "lr": (0, 100),
    "side_lr": (0, 100), "weight_decay": (0, 10), "warmup": (0, 1), "clip": (0, 1e9),
    "average": (0, 0.999999), "views": (1, 1000), "mixup": (0, 100), "validations": (0, 10_000),
    "patience": (0, 10_000), "seed": (0, 2**32 - 1),
}  # fmt: skip
_KNOWN = {
    "optimizer": OPTIMIZERS, "masks": MASKS, "scales": SCALES, "norms": NORMS,
    "precision": PRECISIONS,
}  # fmt: skip
