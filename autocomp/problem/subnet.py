"""A network of given shapes, and what puts plans into it: weights, biases, batch norms, file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from autocomp.artifacts.container import pack
from autocomp.compression.calibration.norms import NormCorrection, install
from autocomp.compression.compressed_layer import CompressedLayer
from autocomp.compression.packing import packed
from autocomp.compression.reconstruction import reconstruct
from autocomp.compression.store import CompressionStore
from autocomp.compression.writer import PlanWriter
from autocomp.core.choice import Choice
from autocomp.core.fidelity import Fidelity
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.plan import Plan
from autocomp.core.structured import Inputs
from autocomp.costs import Cost, make_cost, total
from autocomp.costs.size import Size
from autocomp.network.scoring import Reference
from autocomp.plugins.registry import Factory

_KEPT = 12
"""Reconstructed plans that are kept; more than are finalists of one search."""


class Subnet:
    """The dense network, or one with fewer channels or lower ranks; plans are written into it.

    A plan speaks of the dense network's layers. Here its choices without their structure are put
    into the layers that stand for them: the same one, or the factors of a low-rank form.

    Attributes:
        model: the network that plans are written into.
        network: its layers.
        store: their options; `store.model` has no plan written into it.
        costs: cost name -> cost of this network.
        factories: cost name -> what makes it, None for what is registered so.
    """

    def __init__(
        self,
        model: nn.Module,
        store: CompressionStore,
        corrections: Mapping[Fidelity, NormCorrection],
        factories: Mapping[str, Factory | None],
        calibration: Sequence[Inputs],
        reference: Reference,
        parts: Mapping[str, tuple[str, ...]] | None = None,
        measured: Mapping[str, Cost] | None = None,
    ) -> None:
        """Takes the parts.

        Args:
            model: a working copy, changed by every plan.
            store: makes the layers' options.
            corrections: fidelity -> what corrects batch norms.
            factories: name -> what makes each cost to know; None for what is registered so.
            calibration: calibration inputs.
            reference: what the dense network makes of them.
            parts: layer of a plan -> layers here that stand for it; None if they are the same.
            measured: costs that stay the dense network's own, which was measured.
        """
        self.model = model
        self.store = store
        self.network: Network = store.network
        self.writer = PlanWriter(model, store)
        shared = measured or {}
        self.costs: dict[str, Cost] = {
            name: shared[name] if name in shared else make_cost(name, store, factory)
            for name, factory in factories.items()
        }
        self.factories = dict(factories)
        self._corrections = corrections
        self._calibration = calibration
        self._reference = reference
        self._parts = parts
        self._rebuilt: dict[str, dict[str, CompressedLayer]] = {}

    def inside(self, plan: Plan) -> Plan:
        """Returns the plan for the layers here."""
        if self._parts is None:
            return plan
        return Plan({part: plan[x].inside for x, parts in self._parts.items() for part in parts})

    def parts_of(self, name: str) -> tuple[LayerSpec, ...]:
        """Returns the layers here that stand for a layer of the dense network."""
        names = (name,) if self._parts is None else self._parts[name]
        return tuple(self.network.layer(part) for part in names)

    def costs_of(
        self, plan: Plan, fidelity: Fidelity = Fidelity.SCREEN, names: Sequence[str] | None = None
    ) -> dict[str, int]:
        """Returns the network's costs under a plan: all that are known, or those named."""
        inside = self.inside(plan)
        costs = {
            name: total(self.costs[name], self.network, inside) for name in names or self.costs
        }
        options = self._rebuilt.get(plan.key) if fidelity is Fidelity.RECONSTRUCTED else None
        if options and "size" in costs:
            costs["size"] += self._growth(inside, options)
        return costs

    def realise(
        self, plan: Plan, fidelity: Fidelity = Fidelity.FULL, limit: int | None = None
    ) -> None:
        """Writes a plan into the network and corrects its batch norms.

        But for F1, the correction is kept only if it brings the outputs nearer to the dense
        network's. F2S first reconstructs the plan's layers, once.

        Args:
            plan: one choice per layer of the dense network.
            fidelity: "F1", "F2" or "F2S".
            limit: bytes that the file may have, for a reconstruction.
        """
        inside = self.inside(plan)
        if fidelity is Fidelity.RECONSTRUCTED and plan.key not in self._rebuilt:
            self._reconstruct(plan, inside, limit)
        self._write(
            inside,
            fidelity,
            self._rebuilt.get(plan.key) if fidelity is Fidelity.RECONSTRUCTED else None,
        )

    def pack(self, plan: Plan, fidelity: Fidelity = Fidelity.FULL) -> bytes:
        """Returns the bytes of the file for a plan that was realised last."""
        options = self._rebuilt.get(plan.key) if fidelity is Fidelity.RECONSTRUCTED else None
        state = self.model.state_dict()
        return pack(packed(self.store, self.inside(plan), state, options))

    def divergence(self) -> float:
        """Returns how far the outputs are from the dense network's, on the calibration inputs."""
        return self._reference.divergence(self.model)

    def _write(
        self, inside: Plan, fidelity: Fidelity, options: Mapping[str, CompressedLayer] | None
    ) -> None:
        self.writer.write(inside, options)
        untouched = all(choice.is_neutral for choice in inside.values())
        if untouched and self._parts is None:
            return
        statistics = self._corrections[fidelity.images].statistics()
        if statistics and fidelity is not Fidelity.SCREEN:
            self.writer.round_side(inside)
            plain = self.divergence()
            self.writer.write(inside, options)
            install(self.model, statistics)
            self.writer.round_side(inside)
            if self.divergence() <= plain:
                return
            self.writer.write(inside, options)
        elif statistics:
            install(self.model, statistics)
        self.writer.round_side(inside)

    def _reconstruct(self, plan: Plan, inside: Plan, limit: int | None) -> None:
        size = total(self.costs["size"], self.network, inside)
        rebuilt = reconstruct(
            self.store, self.writer, self._corrections[Fidelity.FULL], self._calibration, inside,
            Size.of_weight, None if limit is None else limit - size,
        )  # fmt: skip
        self._write(inside, Fidelity.FULL, None)
        plain = self.divergence()
        while len(self._rebuilt) >= _KEPT:
            del self._rebuilt[next(iter(self._rebuilt))]  # the oldest; it can be made again
        self._rebuilt[plan.key] = rebuilt
        self._write(inside, Fidelity.RECONSTRUCTED, rebuilt)
        if self.divergence() >= plain:  # few images, or little to repair
            self._rebuilt[plan.key] = {}

    def _growth(self, inside: Plan, options: Mapping[str, CompressedLayer]) -> int:
        """Returns by how many bytes reconstructed layers are longer than the table's."""
        return sum(
            Size.of_weight(layer, inside[layer.name], options[layer.name].weight)
            - self.costs["size"].of_layer(layer, inside[layer.name])
            for layer in self.network.layers
            if layer.name in options
        )


def structure_of(plan: Plan) -> tuple[tuple[str, Choice], ...]:
    """Returns what determines a plan's tensor shapes, in an order of its own."""
    return tuple((n, c.of_structure) for n, c in plan.items() if not c.of_structure.is_neutral)
