"""Costs and losses of plans that change shapes: what structural spaces stand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autocomp.allocation.coupled import CoupledAllocation
from autocomp.allocation.coupling import Coupling, Levels
from autocomp.allocation.pareto import Ints
from autocomp.allocation.separable import SeparableAllocation
from autocomp.compression.low_rank import composed_weight
from autocomp.compression.structure.repair import repair
from autocomp.compression.structure.shapes import readers, sliced_spec
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.plan import Plan
from autocomp.costs import estimated_cost, layer_cost
from autocomp.errors import BudgetError
from autocomp.network.rebinding import copy_network
from autocomp.problem.limits import fixed_costs, out_of_reach
from autocomp.problem.sensitivity import divergences, removal_curve
from autocomp.problem.separable import separable_allocation
from autocomp.problem.stated import Menus, StatedProblem

Floats = NDArray[np.float64]

_MEASURED = 7
"""Counts of units per group whose effect is measured; the others are interpolated."""
MARGIN = 1.01
"""Estimated sizes of sliced layers are taken by this factor: codes are known once compressed."""
_RECORD = 64
"""Bytes that a file takes to say what was sliced."""


class StructuredModel:
    """A problem's plans that take units away: their costs, exactly, and their losses, additively.

    A layer's parameters, MACs and bit operations follow from how many units its groups keep, as
    whole numbers. Its bytes do once it is compressed; before that they are estimated from the dense
    layer's at the same choice, bytes' = bytes * weights' / weights. Who searches checks a plan's
    real bytes before it is evaluated.

    Args:
        problem: the problem.
        menus: the choices of each layer.
    """

    def __init__(self, problem: StatedProblem, menus: Menus) -> None:
        self.problem = problem
        self.menus = [tuple(menu) for menu in menus]
        self.layers = problem.subnets.layers
        self._groups = problem.subnets.pruning.groups
        self._units = {group.name: group.units for group in self._groups}
        self._reads = readers(self.layers, self._groups)
        ranked = any(c.structure.rank != 1 for menu in self.menus for c in menu)
        if ranked and any(problem.costs[name].measured for name in problem.limits):
            raise BudgetError(
                "A latency budget needs layers whose time is measured, but low-rank forms are not; "
                "leave ranks out, or take a budget of MACs."
            )
        self._insides = [tuple(dict.fromkeys(c.inside for c in menu)) for menu in self.menus]
        if any(inside.of_weights != NEUTRAL for menu in self._insides for inside in menu):
            problem.store.prepare(self._insides)
        problem.store.start_over()

    def allocation(self, losses: Callable[[], list[Floats]] | None = None) -> CoupledAllocation:
        """Returns what can meet the problem's budgets, and what is best.

        Args:
            losses: gives the choices' losses where they are known.

        Raises:
            BudgetError: if nothing can; it names the least that these menus reach.
        """
        problem = self.problem
        names = [budget.cost for budget in problem.budgets]
        counts = self._counts()
        place = {group.name: i for i, group in enumerate(self._groups)}
        own = []
        for layer, menu in zip(self.layers, self.menus, strict=True):
            at = {count: level for level, count in enumerate(counts.get(layer.name, []))}
            own.append(
                np.array(
                    [at[layer.units_kept(c.structure.units)] if at else 0 for c in menu], np.int64
                )
            )

        def table(step: int, levels: Levels) -> Ints:
            return self._costs(step, levels, names, counts)

        coupling = Coupling(
            n_levels=tuple(len(counts[group.name]) for group in self._groups),
            leads=tuple(place.get(layer.name, -1) for layer in self.layers),
            own=tuple(own),
            reads=tuple(tuple(place[r.group] for r in reads) for reads in self._reads),
            table=table,
        )
        fixed = fixed_costs(problem, self.menus)
        fixed = fixed + np.array([_RECORD * (n == "size") for n in names])
        limits = np.array([problem.limits[n] for n in names], np.int64) - fixed
        made = CoupledAllocation(
            coupling, limits, losses or self.losses, problem.settings.min_utilisation,
            self._excess, self._unstructured,
        )  # fmt: skip
        if not made.possible:
            raise out_of_reach(problem, made.cheapest + fixed, structural=True)
        return made

    def _excess(self, indices: Sequence[int]) -> float:
        """Returns a plan's real bytes over the budget's; 1 without a budget for bytes."""
        limit = self.problem.limits.get("size")
        if limit is None:
            return 1.0
        chosen = zip(self.layers, self.menus, indices, strict=True)
        return self.problem.size_of(Plan({x.name: menu[i] for x, menu, i in chosen})) / limit

    def _unstructured(self, limits: NDArray[np.int64]) -> list[list[int]]:
        plan = self.unstructured_plan(limits)
        return [] if plan is None else [plan]

    def unstructured_plan(self, limits: NDArray[np.int64]) -> list[int] | None:
        """Returns the exact solver's plan with all channels and ranks kept, as choice indices.

        Args:
            limits: what all layers together may cost, per budget.

        Returns:
            None if the menus compress nothing else, or no such plan meets the budgets.
        """
        if all(inside == NEUTRAL for menu in self._insides for inside in menu):
            return None
        places = [{choice: i for i, choice in enumerate(menu)} for menu in self.menus]
        pairs = zip(places, self._insides, strict=True)
        if not all(inside in place for place, menu in pairs for inside in menu):
            return None
        try:
            costs = separable_allocation(self.problem, self._insides).costs
            plan = SeparableAllocation(
                costs, limits, lambda: self.problem.losses(self._insides)
            ).plan
        except BudgetError:
            return None
        return [place[menu[i]] for place, menu, i in zip(places, self._insides, plan, strict=True)]

    def losses(self) -> list[Floats]:
        """Returns each choice's estimated loss in nats: of its structure, and of what is inside."""
        if all(inside == NEUTRAL for menu in self._insides for inside in menu):
            inside = [np.zeros(len(menu)) for menu in self._insides]
        else:
            inside = self.problem.losses(self._insides)
        shape = self._structure_losses()
        found = []
        for menu, insides, values, shaped in zip(
            self.menus, self._insides, inside, shape, strict=True
        ):
            at = {choice: float(v) for choice, v in zip(insides, values, strict=True)}
            found.append(np.array([at[c.inside] + shaped[c.of_structure] for c in menu]))
        return found

    def _counts(self) -> dict[str, list[int]]:
        """Returns, per group, the counts of units that its menu offers, the fewest first."""
        leaders = dict(zip((x.name for x in self.layers), self.menus, strict=True))
        by_name = {layer.name: layer for layer in self.layers}
        return {
            group.name: sorted(
                {by_name[group.name].units_kept(c.structure.units) for c in leaders[group.name]}
            )
            for group in self._groups
        }

    def _costs(
        self, step: int, levels: Levels, names: Sequence[str], counts: dict[str, list[int]]
    ) -> Ints:
        reads = self._reads[step]
        gone = {
            r.group: self._units[r.group] - counts[r.group][level]
            for r, level in zip(reads, levels, strict=True)
        }
        layer = self.layers[step]
        small = sliced_spec(layer, reads, gone)
        ranks, insides, place = self._kinds[step]
        values = np.array(
            [
                [self._of(step, parts, inside, names) for inside in insides]
                for parts in (self._parts(step, small, share) for share in ranks)
            ],
            np.int64,
        )
        for name, along in (("params", self._along), ("weight_memory", self._along_bytes)):
            if name in names and layer.name in gone:  # what goes along with a unit, once
                values[:, :, names.index(name)] -= gone[layer.name] * along[layer.name]
        return np.asarray(values.reshape(-1, len(names))[place])

    @cached_property
    def _along(self) -> dict[str, int]:
        """Parameters that a unit of each group takes along: biases, and those of norms."""
        return self._count_along(lambda tensor: 1)

    @cached_property
    def _along_bytes(self) -> dict[str, int]:
        """Bytes of those parameters."""
        return self._count_along(lambda tensor: tensor.element_size())

    def _count_along(self, each: Callable[[Tensor], int]) -> dict[str, int]:
        source = self.problem.subnets.source
        found = {}
        for group in self._groups:
            count = 0
            for member in (*group.by_role("out"), *group.by_role("side")):
                module = source.get_submodule(member.module)
                places = len(member.channels[0])
                for name, tensor in module.named_parameters(recurse=False):
                    if (name == "bias" or member.role == "side") and len(tensor) > 1:
                        count += places * each(tensor)
            found[group.name] = count
        return found

    def _parts(self, step: int, small: LayerSpec, share: float) -> tuple[LayerSpec, ...]:
        """Returns the layers that stand for one at a share of its rank."""
        low_rank = self.problem.subnets.low_rank
        rank = low_rank.rank(small, share) if share != 1 else 0
        if not rank:
            return (small,)
        host = self.layers[step].owner
        module = self.problem.subnets.source.get_submodule(host)
        return low_rank.factors(small, module, rank)

    def _of(
        self, step: int, parts: Sequence[LayerSpec], inside: Choice, names: Sequence[str]
    ) -> list[int]:
        return [
            sum(
                self._bytes(step, part, inside)
                if name == "size"
                else layer_cost(self.problem.costs[name], part, inside)
                for part in parts
            )
            for name in names
        ]

    def _bytes(self, step: int, part: LayerSpec, inside: Choice) -> int:
        layer = self.problem.network.layers[step]
        whole = self._sizes[step][inside]
        if inside.of_weights == NEUTRAL or part.n_weights == layer.n_weights:
            return -(-whole * part.n_weights // layer.n_weights)
        return int(np.ceil(whole * part.n_weights / layer.n_weights * MARGIN))

    @cached_property
    def _sizes(self) -> list[dict[Choice, int]]:
        """Bytes of each layer whole, under all that is done inside; as they are known at first."""
        size = self.problem.costs["size"]
        return [
            {inside: estimated_cost(size, layer, inside) for inside in insides}
            for layer, insides in zip(self.problem.network.layers, self._insides, strict=True)
        ]

    @cached_property
    def _kinds(self) -> list[tuple[list[float], list[Choice], NDArray[np.int64]]]:
        """Per layer: its ranks, what is done inside, and each choice's place in their product."""
        found = []
        for menu in self.menus:
            ranks = list(dict.fromkeys(c.structure.rank for c in menu))
            pairs = [(c.structure.rank, c.inside) for c in menu]
            insides = list(dict.fromkeys(inside for _, inside in pairs))
            at = {inside: i for i, inside in enumerate(insides)}
            row = {rank: i * len(insides) for i, rank in enumerate(ranks)}
            found.append(
                (ranks, insides, np.array([row[r] + at[inside] for r, inside in pairs], np.int64))
            )
        return found

    def _structure_losses(self) -> list[dict[Choice, float]]:
        """Measures what each group's removals do to the outputs, one group at a time.

        As `CompressionProblem.losses` does for compressed weights: the divergence from the dense
        outputs on calibration images, batch norms on batch statistics, a few counts a group, and a
        monotone curve over the share that is gone (`removal_curve`).
        """
        subnets = self.problem.subnets
        groups = {group.name: group for group in self._groups}
        images = self.problem.slope_inputs()
        model = copy_network(subnets.source)
        network = subnets.network
        dense = {x.parameter: model.get_parameter(x.parameter).detach().clone()
                 for x in network.layers}  # fmt: skip
        biases = {n: p.detach().clone() for n, p in model.named_parameters() if n.endswith("bias")}

        def write(name: str, choice: Choice | None) -> None:
            with torch.no_grad():
                for parameter, value in (*dense.items(), *biases.items()):
                    model.get_parameter(parameter).copy_(value)
            if choice is None:
                return
            if choice.structure.rank != 1:
                layer = network.layer(name)
                rank = subnets.low_rank.rank(layer, choice.structure.rank)
                gram = subnets.moments.get(name)
                chain = subnets.low_rank.chain(model, layer, rank, gram)
                with torch.no_grad():
                    weight = composed_weight(chain)
                    model.get_parameter(layer.parameter).copy_(weight)
                    if layer.bias:
                        host = layer.owner
                        bias = model.get_submodule(host).get_parameter("bias")
                        bias.copy_(chain[-1].get_parameter("bias"))
                return
            plan = Plan({x.name: choice if x.name == name else NEUTRAL for x in self.layers})
            repair(model, network, subnets.moments, [groups[name]], subnets.kept(plan))

        chosen = [_measured(menu) for menu in self.menus]
        values = divergences(
            model, network.layers, chosen, write, images, self.problem.settings.task
        )
        found = []
        for menu, some, losses in zip(self.menus, chosen, values, strict=True):
            curves: dict[Choice, float] = {NEUTRAL: 0.0}
            measured = dict(zip(some, losses, strict=True))
            singles = dict.fromkeys(x for c in menu for x in (_channels(c), _rank(c)))
            for kind in dict.fromkeys(map(_kind, singles)):
                of_kind = [c for c in singles if _kind(c) == kind and not c.is_neutral]
                points = {_gone(c): measured[c] for c in of_kind if c in measured}
                curve = removal_curve(points, [_gone(c) for c in of_kind])
                curves.update(zip(of_kind, curve.tolist(), strict=True))
            found.append({c.of_structure: curves[_channels(c)] + curves[_rank(c)] for c in menu})
        return found


def _channels(choice: Choice) -> Choice:
    return Choice.of(channels=choice.structure.units, criterion=choice.structure.criterion)


def _rank(choice: Choice) -> Choice:
    return Choice.of(rank=choice.structure.rank)


def _kind(choice: Choice) -> tuple[bool, str]:
    """Returns what choices must share to lie on one curve."""
    return (choice.structure.rank != 1, choice.structure.criterion)


def _gone(choice: Choice) -> float:
    """Returns the share of channels or of rank that is taken away."""
    return 1 - (choice.structure.rank if choice.structure.rank != 1 else choice.structure.units)


def _measured(menu: Sequence[Choice]) -> list[Choice]:
    """Returns a few choices of each curve of a layer's menu."""
    singles = dict.fromkeys(x for c in menu for x in (_channels(c), _rank(c)) if not x.is_neutral)
    found = []
    for kind in dict.fromkeys(map(_kind, singles)):
        some = sorted((c for c in singles if _kind(c) == kind), key=_gone)
        at = np.unique(np.linspace(0, len(some) - 1, _MEASURED).round().astype(int))
        found += [some[i] for i in at]
    return found
