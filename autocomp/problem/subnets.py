"""From plans to networks of the shapes that they ask for; the latest ones are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.calibration.norms import NormCorrection, install
from autocomp.compression.calibration.statistics import calibrate
from autocomp.compression.low_rank import Blueprint
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.saliency import make_criterion
from autocomp.compression.store import CompressionStore
from autocomp.compression.structure.find import PruningGroups, find_groups
from autocomp.compression.structure.heads import is_hooked, with_heads
from autocomp.compression.structure.low_rank import FALLBACK, LowRank
from autocomp.compression.structure.order import removal_order
from autocomp.compression.structure.record import record_of
from autocomp.compression.structure.repair import repair
from autocomp.compression.structure.sequential import repair_sequentially
from autocomp.compression.structure.slices import InheritingPruner, Slice, sliced_gram
from autocomp.compression.structure.surgery import places, sliced
from autocomp.core.fidelity import Fidelity
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.plan import Plan
from autocomp.core.structured import Inputs
from autocomp.errors import ChoiceError
from autocomp.network.analysis import analyse
from autocomp.network.rebinding import copy_network
from autocomp.network.scoring import Reference
from autocomp.problem.subnet import Subnet, structure_of

LATEST = 8
"""Networks that are kept."""

Kept = dict[str, tuple[int, ...]]


class Subnets:
    """Makes and keeps the networks that plans ask for.

    The plan without structure gets the dense network itself. Any other gets a copy that has lost
    units, in an order that is fixed for each group, with the least-squares weights for what stays.
    """

    def __init__(
        self,
        dense: Subnet,
        calibration: Sequence[Inputs],
        corrections: Mapping[Fidelity, NormCorrection],
        reference: Reference,
        keep: Sequence[str],
        unit_step: int = 1,
        labels: Sequence[Tensor] | None = None,
        decomposition: str = FALLBACK,
    ) -> None:
        """Takes the dense network's subnet, and what all subnets share; see `Subnet`.

        Args:
            dense: the dense network.
            calibration: calibration inputs.
            corrections: fidelity -> what corrects the dense network's batch norms.
            reference: what the dense network makes of the calibration inputs.
            keep: layers to leave alone.
            unit_step: units stay in multiples of this.
            labels: labels of the calibration inputs, for criteria that need them.
            decomposition: how ranks are lowered, a name of `autocomp decompositions`.
        """
        self.low_rank = LowRank(decomposition)
        self.dense = dense
        self._calibration = calibration
        self._corrections = corrections
        self._reference = reference
        self._keep = tuple(keep)
        self._unit_step = unit_step
        self._labels = labels
        self._made: OrderedDict[tuple[object, bool], Subnet] = OrderedDict()
        self._survived: dict[str, Tensor] = {}
        self._orders: dict[tuple[str, str], list[int]] = {}

    def of(self, plan: Plan, fidelity: Fidelity | str = Fidelity.SCREEN) -> Subnet:
        """Returns the network of a plan's shapes, as a level of fidelity wants it.

        For F2S the repair goes front to back, each layer for the inputs that it really gets.

        Raises:
            ChoiceError: if a layer cannot lose what its choice asks for.
        """
        structure = structure_of(plan)
        if not structure:
            return self.dense
        key = (structure, Fidelity.of(fidelity).reconstructs)
        if key not in self._made:
            self._made[key] = self._make(plan, key[1])
            while len(self._made) > LATEST:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return self._made[key]

    @cached_property
    def source(self) -> nn.Module:
        """The dense network that is sliced: attention with heads that can go."""
        model = copy_network(self.dense.store.model)
        with_heads(model, self._calibration[0][:2])
        return model

    @cached_property
    def pruning(self) -> PruningGroups:
        """The groups of channels, and what is left alone."""
        return find_groups(self.source, self.network, self._calibration[0])

    @cached_property
    def layers(self) -> tuple[LayerSpec, ...]:
        """The dense network's layers, which say how many units they lead."""
        units = {group.name: group.units for group in self.pruning.groups}
        heads = {x.name: x for x in self.network.layers}
        return tuple(
            replace(
                x, units=units.get(x.name, 0), unit_step=self._unit_step,
                full_rank=self._full_rank(heads[x.name]),
            )
            for x in self.dense.network.layers
        )  # fmt: skip

    def _full_rank(self, layer: LayerSpec) -> int:
        hooked = is_hooked(self.source.get_submodule(layer.owner))
        return 0 if hooked else self.low_rank.full_rank(layer)

    def kept(self, plan: Plan) -> Kept:
        """Returns the units that stay in each group that loses some.

        Raises:
            ChoiceError: if a layer's choice asks for channels and it leads no group.
        """
        groups = {group.name: group for group in self.pruning.groups}
        found: Kept = {}
        for layer in self.layers:
            choice = plan[layer.name]
            if choice.structure.units == 1:
                continue
            if layer.name not in groups:
                why = self.pruning.skipped.get(
                    layer.name, "another layer leads its group, or none does"
                )
                raise ChoiceError(
                    f"A layer that leads a group may lose channels, but {layer.name!r} does not "
                    f"({why}); set its channels to 1."
                )
            count = layer.units_kept(choice.structure.units)
            order = self.order(layer.name, choice.structure.criterion)
            if count < layer.units:
                found[layer.name] = tuple(sorted(order[layer.units - count :]))
        return found

    def order(self, name: str, criterion: str = "") -> list[int]:
        """Returns a group's units, the first to go first.

        Args:
            name: the group.
            criterion: a name of `autocomp criteria`, with options if any; "" is the least-squares
                order.

        Raises:
            UnknownNameError: if there is no such criterion.
        """
        key = (name, criterion)
        if key not in self._orders and criterion:
            batches = list(zip(self._calibration, self._labels_or_none(), strict=True))
            made = make_criterion(criterion)
            if self._labels is None and getattr(made, "needs_classes", False):
                raise ChoiceError(
                    f"A criterion must suit the task, but {criterion!r} looks at classes and this "
                    "task has none; take one of weights or activations (l1, activation-mean), or "
                    "leave it out for the least-squares order."
                )
            scores = made.scores(self.source, self.pruning.groups, batches)
            for scored, values in scores.items():
                order = torch.argsort(values.cpu(), stable=True)
                self._orders[scored, criterion] = [int(unit) for unit in order]
        elif key not in self._orders:
            group = next(g for g in self.pruning.groups if g.name == name)
            self._orders[key] = removal_order(self.source, self.network, self.moments, group)
        return self._orders[key]

    def _labels_or_none(self) -> Sequence[Tensor | None]:
        return [None] * len(self._calibration) if self._labels is None else self._labels

    @cached_property
    def moments(self) -> dict[str, Gram]:
        """Moments of the dense layers' inputs."""
        return input_moments(self.source, self.network, self._calibration)

    @cached_property
    def network(self) -> Network:
        """The layers of `source`."""
        return analyse(self.source, self._calibration[0][:2], self._keep)

    def _make(self, plan: Plan, sequential: bool) -> Subnet:
        kept = self.kept(plan)
        groups = self.pruning.groups
        model = copy_network(self.source)
        if sequential:
            repair_sequentially(
                self.source, model, self.network, groups, kept, self._calibration,
                self._corrections[Fidelity.FULL],
            )  # fmt: skip
        else:
            repair(model, self.network, self.moments, groups, kept)
        stay = places(model, groups, kept)
        where = {name: pair[0] for name, pair in stay.items()}
        small = sliced(model, groups, kept)
        record = record_of(self.dense.store.model, small)
        parts = self._lower_ranks(small, plan, stay, record)
        network = replace(
            analyse(small, self._calibration[0][:2], self._keep),
            other_macs=self.dense.network.other_macs,  # as `Macs` counts them: for every shape
        )
        reference = copy_network(small)
        lowered = any(x.name not in self.dense.store.stats for x in network.layers)
        if sequential or lowered:  # its layers' outputs are fitted to, or its inputs looked at
            self._correct(reference, where)
        cuts = self._cuts(network, stay)
        dense = self.dense.store
        known = dense.stats
        if lowered:  # factors have inputs of their own
            known = {**calibrate(reference, network, self._calibration), **known}
        stats = {x.name: replace(known[x.name], layer=x, gram=None) for x in network.layers}
        pipeline = dense.pipeline
        if pipeline.pruner.passes_on_order:
            pipeline = replace(pipeline, pruner=InheritingPruner(self._survivals, cuts))
        store = CompressionStore(
            reference, network, stats, pipeline,
            lambda: self._moments(reference, network, cuts, where), record=record,
            earlier=dense.earlier,
        )  # fmt: skip
        corrections = {
            level: correction.sliced(small, where)
            for level, correction in self._corrections.items()
        }
        return Subnet(
            small, store, corrections, self.dense.factories, self._calibration, self._reference,
            parts,
            {name: c for name, c in self.dense.costs.items() if c.measured},
        )  # fmt: skip

    def _survivals(self, layer: LayerSpec) -> Tensor:
        if layer.name not in self._survived:
            # heads that can go make other kinds of layers, with the same weights
            known = {x.name: x for x in self.dense.network.layers}[layer.name]
            self._survived[layer.name] = self.dense.store.survivals(known)
        return self._survived[layer.name]

    def _lower_ranks(
        self, model: nn.Module, plan: Plan,
        stay: Mapping[str, tuple[list[int] | None, list[int] | None]], record: dict[str, Any],
    ) -> dict[str, tuple[str, ...]]:  # fmt: skip
        """Replaces layers by low-rank forms; returns what stands for each layer of a plan."""
        parts: dict[str, tuple[str, ...]] = {x.name: (x.name,) for x in self.dense.network.layers}
        wanted = [x for x in self.layers if plan[x.name].structure.rank != 1]
        if not wanted:
            return parts
        network = analyse(model, self._calibration[0][:2], self._keep)
        cuts = self._cuts(network, stay)
        for name in (x.name for x in wanted):
            layer = network.layer(name)
            rank = self.low_rank.rank(layer, plan[name].structure.rank)
            if not rank:
                continue
            known = self.moments.get(name)
            gram = None if known is None else sliced_gram(known, cuts[name])
            n = self.low_rank.replace(model, layer, rank, gram)
            host = layer.owner
            parts[name] = tuple(f"{host}.{i}" for i in range(n))
            chain = model.get_submodule(host)
            assert isinstance(chain, nn.Sequential)
            record.setdefault("low_rank", {})[host] = Blueprint.of(chain).to_json()
        return parts

    def _cuts(
        self, network: Network, stay: Mapping[str, tuple[list[int] | None, list[int] | None]]
    ) -> dict[str, Slice]:
        before = {x.name: x for x in self.network.layers}
        cuts = {}
        for layer in network.layers:
            if layer.name not in before:
                continue  # a factor
            host = layer.owner
            outputs, inputs = stay.get(host, (None, None))
            cuts[layer.name] = Slice(before[layer.name], layer, outputs, inputs)
        return cuts

    def _correct(self, model: nn.Module, places: Mapping[str, Sequence[int] | None]) -> None:
        """Gives a sliced network's batch norms the statistics that it has without a plan inside."""
        install(model, self._corrections[Fidelity.FULL].sliced(model, places).statistics())

    def _moments(
        self,
        model: nn.Module,
        network: Network,
        cuts: Mapping[str, Slice],
        places: Mapping[str, Sequence[int] | None],
    ) -> dict[str, Gram]:
        """Returns the sliced layers' moments: cut out of the dense ones, or seen anew."""
        found = {}
        missing = []
        for layer in network.layers:
            known = self.moments.get(layer.name)
            cut = cuts.get(layer.name)
            gram = None if known is None or cut is None else sliced_gram(known, cut)
            if gram is not None:
                found[layer.name] = gram
            elif known is not None or cut is None:
                missing.append(layer)
        if missing:
            some = replace(network, layers=tuple(missing))
            corrected = copy_network(model)
            self._correct(corrected, places)
            found.update(input_moments(corrected, some, self._calibration))
        return found
