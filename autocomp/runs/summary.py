"""The closing figures of a search: dense against compressed, and the plan layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from autocomp.compression.recovery.layout import Layout
from autocomp.core.fidelity import Fidelity
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.outcome import Outcome
from autocomp.errors import RunError
from autocomp.problem.problem import CompressionProblem
from autocomp.tasks.classification import Score


@dataclass(frozen=True)
class LayerRow:
    """One line of the plan.

    Attributes:
        name: the layer.
        kind: its kind.
        shape: its weight's shape.
        choice: what is done to it, in words.
        weights: weights of the dense layer.
        kept: weights that are not pruned.
        bytes: bytes that it adds to the file.
        dense_bytes: bytes of its dense weight.
        left: shapes of the tensors that it became, () if it kept its own.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    choice: str
    weights: int
    kept: int
    bytes: int
    dense_bytes: int
    left: tuple[tuple[int, ...], ...] = ()


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
    """

    dense: dict[str, int]
    compressed: dict[str, int]
    search_dense: Score
    search: Score
    test_dense: Score
    test: Score
    limits: dict[str, int]
    units: dict[str, str]
    layers: tuple[LayerRow, ...]
    left_dense: tuple[str, ...]
    in_blocks: tuple[str, ...]
    evaluations: int
    seconds: float
    whole: dict[str, str] = field(default_factory=dict)
    measured: dict[str, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Summary:
        """Reads `to_json`'s object; RunError if it is damaged."""
        try:
            scores: dict[str, Any] = {
                name: Score(**values[name])
                for name in ("search_dense", "search", "test_dense", "test")
            }
            rows = tuple(
                LayerRow(
                    **{
                        **row,
                        "shape": tuple(row["shape"]),
                        "left": tuple(tuple(shape) for shape in row["left"]),
                    }
                )
                for row in values["layers"]
            )
            rest = {k: v for k, v in values.items() if k not in scores and k != "layers"}
            pairs = rest.get("measured", {}).items()
            rest["measured"] = {name: (int(a), int(b)) for name, (a, b) in pairs}
            texts = {name: tuple(values[name]) for name in ("left_dense", "in_blocks")}
            return cls(**{**rest, **texts}, **scores, layers=rows)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"summary.json must hold the closing figures, but {error} is wrong; delete it and "
                "resume the run."
            ) from None


def summarise(
    problem: CompressionProblem,
    best: Outcome,
    file_bytes: int,
    tested: tuple[Score, Score],
    evaluations: int,
    seconds: float,
    measured: Mapping[str, tuple[int, int]] | None = None,
) -> Summary:
    """Collects the closing figures.

    Args:
        problem: the problem.
        best: the chosen plan's outcome on the whole search split.
        file_bytes: real length of the compressed file.
        tested: (dense, compressed) scores on the test split.
        evaluations: how many distinct plans were evaluated.
        seconds: how long the search took.
        measured: what was measured of costs that the search estimates.
    """
    network = problem.network
    rows = tuple(_row(problem, layer, best) for layer in network.layers)
    return Summary(
        dense={name: cost.reference for name, cost in problem.costs.items()},
        compressed={**best.costs, "size": file_bytes},
        search_dense=problem.dense_score(Fidelity.FULL),
        search=Score(best.accuracy, best.loss, best.n),
        test_dense=tested[0],
        test=tested[1],
        limits=dict(problem.limits),
        units={name: cost.unit for name, cost in problem.costs.items()},
        layers=rows,
        left_dense=(*(layer.name for layer in network.frozen), *network.unsupported),
        in_blocks=tuple(layer.name for layer in network.layers if Layout.of(layer).slices > 1),
        evaluations=evaluations,
        seconds=seconds,
        measured=dict(measured or {}),
        whole=dict(problem.subnets.pruning.skipped) if best.plan.is_structured else {},
    )


def _row(problem: CompressionProblem, layer: LayerSpec, best: Outcome) -> LayerRow:
    choice = best.plan[layer.name]
    subnet = problem.subnets.of(best.plan, best.fidelity)
    parts = subnet.parts_of(layer.name)
    shapes = tuple(part.shape for part in parts)
    size = subnet.costs["size"]
    return LayerRow(
        name=layer.name,
        kind=layer.kind,
        shape=layer.shape,
        choice=str(choice),
        weights=layer.n_weights,
        kept=sum(part.nonzeros(choice.inside) for part in parts),
        bytes=sum(size.of_layer(part, choice.inside) for part in parts),
        dense_bytes=layer.n_weights * problem.store.dense(layer).element_size(),
        left=() if shapes == (layer.shape,) else shapes,
    )
