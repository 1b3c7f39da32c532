"""One layer of the plan, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from autocomp.core.choice import NEUTRAL
from autocomp.core.fidelity import Fidelity
from autocomp.core.plan import Plan
from autocomp.problem.problem import CompressionProblem


@dataclass(frozen=True)
class PlannedLayer:
    """A layer before and after.

    Attributes:
        name: the layer.
        kind: its kind.
        shape: its weight's shape.
        choice: what is done to it, in words.
        sparsity: share of the remaining tensors' weights that are zero, in [0, 1].
        channels: share of the units that stay, in (0, 1].
        rank: share of the full rank that stays, in (0, 1].
        weight_bits: 2 to 32.
        activation_bits: 2 to 32.
        dense_bytes: bytes of the dense weight.
        bytes: bytes that it adds to the file.
        dense_macs: multiply-accumulates of one example.
        macs: those that are left.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    choice: str
    sparsity: float
    channels: float
    rank: float
    weight_bits: int
    activation_bits: int
    dense_bytes: int
    bytes: int
    dense_macs: int
    macs: int


def planned_layers(
    problem: CompressionProblem, plan: Plan, fidelity: Fidelity = Fidelity.FULL
) -> tuple[PlannedLayer, ...]:
    """Returns every layer of a plan, before and after."""
    subnet = problem.subnets.of(plan, fidelity)
    size, macs = subnet.costs["size"], subnet.costs["macs"]
    found = []
    for layer in problem.network.layers:
        choice = plan[layer.name]
        parts = subnet.parts_of(layer.name)
        kept = sum(part.nonzeros(choice.inside) for part in parts)
        weights = sum(part.n_weights for part in parts)
        found.append(
            PlannedLayer(
                name=layer.name,
                kind=layer.kind,
                shape=layer.shape,
                choice=str(choice),
                sparsity=1 - kept / max(1, weights),
                channels=choice.structure.units,
                rank=choice.structure.rank,
                weight_bits=choice.weights.bits,
                activation_bits=choice.activations.bits,
                dense_bytes=layer.n_weights * problem.store.dense(layer).element_size(),
                bytes=sum(size.of_layer(part, choice.inside) for part in parts),
                dense_macs=problem.costs["macs"].of_layer(layer, NEUTRAL),
                macs=sum(macs.of_layer(part, choice.inside) for part in parts),
            )
        )
    return tuple(found)
