"""What an export says of itself: how each layer is stored, what computes it, what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from autocomp.core.metric import ACCURACY, Metric
from autocomp.core.score import accuracy_of


@dataclass(frozen=True)
class LayerExport:
    """One layer of the plan in the exported file.

    Attributes:
        name: the layer.
        choice: what the plan does to it, in words.
        stored: "float32", "int8 QDQ", "int8 weights", "int4", "MatMulNBits 4", ...
        kernel: the operators that the runtime computes it with, after its own optimisation
            ("QLinearConv"); "" where it was not found.
        size_only: why the layer is smaller but not computed in fewer bits; "" if it is.
    """

    name: str
    choice: str
    stored: str
    kernel: str = ""
    size_only: str = ""


@dataclass(frozen=True)
class ExportReport:
    """An exported file.

    Attributes:
        opset: version of the ONNX operators in it; 0 for other formats.
        bytes: its length.
        layers: the plan's layers, in order.
        notes: what was done otherwise than asked for, a sentence each.
    """

    opset: int
    bytes: int
    layers: tuple[LayerExport, ...]
    notes: tuple[str, ...] = ()

    @property
    def size_only(self) -> dict[str, str]:
        """Layer -> why it is smaller but not faster."""
        return {layer.name: layer.size_only for layer in self.layers if layer.size_only}


@dataclass(frozen=True)
class Check:
    """An exported file against the evaluated network, on the same labelled images.

    Attributes:
        n: number of samples.
        quality: the file's figure; for classifications the share of right predictions, in [0, 1].
        network_quality: the network's.
        agreement: share of decisions (classes, pixels, labels) that both make alike; None for
            tasks that decide nothing.
        largest_difference: the largest absolute difference of two outputs.
        bytes: length of the file.
        metric: what the qualities are figures of.
    """

    n: int
    quality: float
    network_quality: float
    agreement: float | None
    largest_difference: float
    bytes: int
    metric: Metric = ACCURACY

    @property
    def accuracy(self) -> float:
        """The file's quality, of a classification."""
        return accuracy_of(self.quality, self.metric)

    @property
    def network_accuracy(self) -> float:
        """The network's quality, of a classification."""
        return accuracy_of(self.network_quality, self.metric)


@dataclass(frozen=True)
class Exported:
    """What `export_run` hands back.

    Attributes:
        report: what the file holds.
        check: the file against the evaluated network.
        seconds: median time of one image in the file.
        float_seconds: the same for the network in float32.
        float_bytes: length of the network's file in float32.
        threads: threads of both measurements.
    """

    report: ExportReport
    check: Check
    seconds: float
    float_seconds: float
    float_bytes: int
    threads: int

    @property
    def speedup(self) -> float:
        """How many times faster than float32 the file is; below 1 it is slower."""
        return self.float_seconds / self.seconds
