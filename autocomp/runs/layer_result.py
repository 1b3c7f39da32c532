"""One layer of a plan, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocomp.core.choice import Choice
from autocomp.core.fidelity import Fidelity
from autocomp.core.plan import Plan
from autocomp.problem.problem import CompressionProblem


@dataclass(frozen=True)
class LayerResult:
    """A layer before and after; None where a number is not known.

    Attributes:
        name: the layer.
        kind: its kind; "" if unknown.
        shape: its weight's shape; () if unknown.
        choice: what is done to it, in words.
        sparsity: share of the remaining tensors' weights that are zero, in [0, 1].
        channels: share of the units that stay, in (0, 1].
        rank: share of the full rank that stays, in (0, 1].
        weight_bits: 2 to 32.
        activation_bits: 2 to 32.
        weights: weights of the dense layer.
        nonzeros: weights that are not pruned.
        dense_bytes: bytes of the dense weight.
        bytes: bytes that it adds to the file.
        dense_macs: multiply-accumulates of one example.
        macs: those that are left.
        left: shapes of the tensors that it became, () if it kept its own.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    choice: str
    sparsity: float = 0.0
    channels: float = 1.0
    rank: float = 1.0
    weight_bits: int = 32
    activation_bits: int = 32
    weights: int | None = None
    nonzeros: int | None = None
    dense_bytes: int | None = None
    bytes: int | None = None
    dense_macs: int | None = None
    macs: int | None = None
    left: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of_choice(cls, name: str, choice: Choice) -> LayerResult:
        """Returns what a choice alone says of a layer."""
        n, m = choice.weights.n_of_m
        return cls(
            name=name,
            kind="",
            shape=(),
            choice=str(choice),
            sparsity=1 - n / m if choice.weights.pattern else choice.weights.sparsity,
            channels=choice.structure.units,
            rank=choice.structure.rank,
            weight_bits=choice.weights.bits,
            activation_bits=choice.activations.bits,
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LayerResult:
        """Reads a JSON object; those of 0.4 called `nonzeros` otherwise and knew less."""
        given = dict(values)
        if "kept" in given:
            given["nonzeros"] = given.pop("kept")
        given["shape"] = tuple(given["shape"])
        given["left"] = tuple(tuple(shape) for shape in given.get("left", ()))
        return cls(**given)


def layer_results(
    problem: CompressionProblem, plan: Plan, fidelity: Fidelity | str = Fidelity.FULL
) -> tuple[LayerResult, ...]:
    """Returns every layer of a plan, before and after."""
    subnet = problem.subnets.of(plan, Fidelity.of(fidelity))
    size, macs = subnet.costs["size"], subnet.costs["macs"]
    found = []
    for layer in problem.network.layers:
        choice = plan[layer.name]
        parts = subnet.parts_of(layer.name)
        nonzeros = sum(part.nonzeros(choice.inside) for part in parts)
        weights = sum(part.n_weights for part in parts)
        shapes = tuple(part.shape for part in parts)
        found.append(
            LayerResult(
                name=layer.name,
                kind=layer.kind,
                shape=layer.shape,
                choice=str(choice),
                sparsity=1 - nonzeros / max(1, weights),
                channels=choice.structure.units,
                rank=choice.structure.rank,
                weight_bits=choice.weights.bits,
                activation_bits=choice.activations.bits,
                weights=layer.n_weights,
                nonzeros=nonzeros,
                dense_bytes=layer.n_weights * problem.store.dense(layer).element_size(),
                bytes=sum(size.of_layer(part, choice.inside) for part in parts),
                dense_macs=problem.costs["macs"].of_layer(layer, Choice()),
                macs=sum(macs.of_layer(part, choice.inside) for part in parts),
                left=() if shapes == (layer.shape,) else shapes,
            )
        )
    return tuple(found)
