"""The closing figures of a search: dense against compressed, and the plan layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from autocomp.compression.recovery.layout import Layout
from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome
from autocomp.core.score import Score
from autocomp.errors import AutocompError, RunError
from autocomp.problem.pairs import Tested
from autocomp.problem.problem import CompressionProblem
from autocomp.runs.layer_result import LayerResult, layer_results

_SCORES = ("search_dense", "search", "test_dense", "test")


class Measured(NamedTuple):
    """A measurement of the dense and of the compressed network."""

    dense: int
    compressed: int


@dataclass(frozen=True)
class Gain:
    """How much better the plan is than the best one that the search started from.

    Each without a training at the end. Where a figure cannot be told sample by sample, the interval
    has no bounds.

    Attributes:
        difference: of the figures, in their own unit.
        low, high: a 95 % interval of it, paired sample by sample.
        n: samples.
        own: whether the plan is the start's own.
        split: of which split the samples are: "test", which no search used; "search" in runs
            before 0.5, which chose the plan.
    """

    difference: float
    low: float
    high: float
    n: int
    own: bool = False
    split: str = "search"


@dataclass(frozen=True)
class Training:
    """What the training at the end of a search has changed.

    Attributes:
        search: score on the whole search split before it.
        search_trained: after it.
        kept: whether the trained network was handed back; else it was no better.
        steps: of the training.
        seconds: how long it took.
        size: bytes of the file before it.
        flipped: share of the codes that it changed.
        zeros, zeros_trained: share of the compressed weights that are zero, before and after.
        settings: how, as a text.
    """

    search: Score
    search_trained: Score
    kept: bool
    steps: int
    seconds: float
    size: int
    flipped: float
    zeros: float
    zeros_trained: float
    settings: str

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object."""
        scores = {name: getattr(self, name).to_json() for name in ("search", "search_trained")}
        return {**asdict(self), **scores}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Training:
        """Reads `to_json`'s object; KeyError, TypeError or ValueError if it is damaged."""
        if not isinstance(values["kept"], bool) or not isinstance(values["settings"], str):
            raise ValueError("training")
        return cls(
            Score.from_json(values["search"]), Score.from_json(values["search_trained"]),
            values["kept"], int(values["steps"]), float(values["seconds"]), int(values["size"]),
            float(values["flipped"]), float(values["zeros"]), float(values["zeros_trained"]),
            values["settings"],
        )  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """Everything that the closing table shows.

    Attributes:
        dense: costs of the dense network, with its file's real bytes as "size".
        compressed: costs of the compressed one, with its file's real bytes as "size".
        search_dense, search: scores on the whole search split.
        test_dense, test: scores on the test split, read once.
        limits: cost name -> limit.
        units: cost name -> unit.
        layers: the plan.
        left_dense: names of parameters and layers that were left alone.
        in_blocks: layers too wide for one matrix of input moments; theirs is block-diagonal.
        evaluations: how many distinct plans were evaluated.
        seconds: how long the search took.
        measured: cost name -> what was measured of the dense and of the compressed network, for
            costs that the search only estimates.
        whole: first layers of the groups that cannot lose channels -> why; only if channels went.
        gain: what the search has gained over its start; None where it had none.
        estimated: layers whose menus were estimated from some of their rows; the plan's options
            are made.
        by_gradients: whether the layers' effects on the outputs are from one backward pass, not
            measured.
        training: what a training at the end has changed; None without one.
    """

    dense: dict[str, int]
    compressed: dict[str, int]
    search_dense: Score
    search: Score
    test_dense: Score
    test: Score
    limits: dict[str, int]
    units: dict[str, str]
    layers: tuple[LayerResult, ...]
    left_dense: tuple[str, ...]
    in_blocks: tuple[str, ...]
    evaluations: int
    seconds: float
    whole: dict[str, str] = field(default_factory=dict)
    measured: dict[str, Measured] = field(default_factory=dict)
    gain: Gain | None = None
    estimated: tuple[str, ...] = ()
    by_gradients: bool = False
    training: Training | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object."""
        scores = {name: getattr(self, name).to_json() for name in _SCORES}
        training = None if self.training is None else self.training.to_json()
        return {**asdict(self), **scores, "training": training}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Summary:
        """Reads `to_json`'s object; RunError if it is damaged."""
        try:
            scores: dict[str, Any] = {name: Score.from_json(values[name]) for name in _SCORES}
            rows = tuple(LayerResult.from_json(row) for row in values["layers"])
            rest = {k: v for k, v in values.items() if k not in scores and k != "layers"}
            pairs = rest.get("measured", {}).items()
            rest["measured"] = {name: Measured(int(a), int(b)) for name, (a, b) in pairs}
            gain = rest.pop("gain", None)
            rest["gain"] = None if gain is None else Gain(**gain)
            training = rest.pop("training", None)
            rest["training"] = None if training is None else Training.from_json(training)
            texts = {name: tuple(values[name]) for name in ("left_dense", "in_blocks")}
            texts["estimated"] = tuple(values.get("estimated", ()))
            _check_figures(rest)
            return cls(**{**rest, **texts}, **scores, layers=rows)
        except (KeyError, TypeError, ValueError, AttributeError, AutocompError) as error:
            raise RunError(
                f"summary.json must hold the closing figures, but {error} is wrong; delete it and "
                "resume the run."
            ) from None


def _check_figures(values: Mapping[str, Any]) -> None:
    """Raises ValueError unless costs are whole numbers of the same names, with a unit each."""
    for name in ("dense", "compressed", "limits"):
        if not all(type(value) is int for value in values[name].values()):
            raise ValueError(name)
    for name in ("units", "whole"):
        if not all(isinstance(value, str) for value in values.get(name, {}).values()):
            raise ValueError(name)
    if not all(isinstance(name, str) for name in values.get("estimated", ())):
        raise ValueError("estimated")
    if not isinstance(values.get("by_gradients", False), bool):
        raise ValueError("by_gradients")
    for name in ("evaluations", "seconds"):
        if not isinstance(values[name], (int, float)):
            raise ValueError(name)
    costs = set(values["compressed"])
    if not costs <= set(values["dense"]) or not costs <= set(values["units"]):
        raise ValueError("dense")
    if not set(values["limits"]) | set(values.get("measured", {})) <= costs:
        raise ValueError("limits")


def summarise(
    problem: CompressionProblem,
    best: Outcome,
    file_bytes: int,
    tested: Tested,
    evaluations: int,
    seconds: float,
    measured: Mapping[str, Measured] | None = None,
    gain: Gain | None = None,
    training: Training | None = None,
) -> Summary:
    """Collects the closing figures.

    Args:
        problem: the problem.
        best: the chosen plan's outcome on the whole search split.
        file_bytes: real length of the compressed file.
        tested: scores on the test split.
        evaluations: how many distinct plans were evaluated.
        seconds: how long the search took.
        measured: what was measured of costs that the search estimates.
        gain: what the search has gained over its start.
        training: what a training at the end has changed.
    """
    network = problem.network
    return Summary(
        dense={name: cost.reference for name, cost in problem.costs.items()},
        compressed={**best.costs, "size": file_bytes},
        search_dense=problem.dense_score(Fidelity.FULL),
        search=training.search_trained
        if training is not None and training.kept
        else Score(best.quality, best.loss, best.n, best.metric, problem.error_of(best)),
        test_dense=tested.dense,
        test=tested.compressed,
        limits=dict(problem.limits),
        units={name: cost.unit for name, cost in problem.costs.items()},
        layers=layer_results(problem, best.plan, best.fidelity),
        left_dense=(*(layer.name for layer in network.frozen), *network.unsupported),
        in_blocks=tuple(layer.name for layer in network.layers if Layout.of(layer).slices > 1),
        evaluations=evaluations,
        seconds=seconds,
        measured=dict(measured or {}),
        gain=gain,
        whole=dict(problem.subnets.pruning.skipped) if best.plan.is_structured else {},
        estimated=problem.store.estimated_layers,
        by_gradients=problem.by_gradients,
        training=training,
    )
