"""What compression did to single predictions, on the search split."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy on the samples of one class.

    Attributes:
        label: the class.
        n: its samples.
        dense: accuracy of the dense network on them, in [0, 1].
        compressed: accuracy of the compressed network.
    """

    label: str
    n: int
    dense: float
    compressed: float


@dataclass(frozen=True)
class ConfidenceBin:
    """The samples whose confidence lies in one tenth of [0, 1].

    Attributes:
        n: how many.
        confidence: their mean largest probability; 0 if there are none.
        accuracy: share of right predictions among them; 0 if there are none.
    """

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How well a network's confidence matches its accuracy.

    Attributes:
        error: expected calibration error, sum_b n_b / n * |accuracy_b - confidence_b| over ten
            bins (Guo et al. 2017, arXiv:1706.04599).
        bins: the bins, the least confident first.
    """

    error: float
    bins: tuple[ConfidenceBin, ...]


@dataclass(frozen=True)
class ChangedSample:
    """A sample whose prediction changed much.

    Attributes:
        index: its place in the search split.
        label: its class.
        dense: the class that the dense network predicts, with its probability in `dense_p`.
        compressed: the class that the compressed network predicts, likewise.
        dense_p: in [0, 1].
        compressed_p: in [0, 1].
        divergence: KL(dense || compressed) of this sample, in nats.
        png: the image as base64-encoded PNG; "" where the sample is no image.
    """

    index: int
    label: str
    dense: str
    compressed: str
    dense_p: float
    compressed_p: float
    divergence: float
    png: str


@dataclass(frozen=True)
class Predictions:
    """Dense and compressed predictions side by side.

    Attributes:
        split: name of the split.
        n: its samples.
        agreement: share of samples for which both networks predict the same class.
        classes: accuracy of every class.
        dense: calibration of the dense network.
        compressed: calibration of the compressed network.
        changed: the samples of largest divergence, the largest first.
    """

    split: str
    n: int
    agreement: float
    classes: tuple[ClassAccuracy, ...]
    dense: Calibration
    compressed: Calibration
    changed: tuple[ChangedSample, ...]
