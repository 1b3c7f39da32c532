"""Costs and losses of plans that change shapes: what structural spaces stand on."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from autocomp.coupled import CoupledConstraint, Coupling, Levels
from autocomp.errors import BudgetError
from autocomp.feasibility import Costs
from autocomp.layers import LayerSpec
from autocomp.plan import NEUTRAL, Choice, Plan
from autocomp.problem import CompressionProblem
from autocomp.sensitivity import divergences, loss_curve
from autocomp.structure.repair import repair
from autocomp.structure.shapes import Reads, readers, sliced_spec

Floats = NDArray[np.float64]
Menus = Sequence[Sequence[Choice]]

_MEASURED = 4
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

    def __init__(self, problem: CompressionProblem, menus: Menus) -> None:
        self.problem = problem
        self.menus = [tuple(menu) for menu in menus]
        self.layers = problem.variants.layers
        self._groups = problem.variants.found.groups
        self._reads = readers(self.layers, self._groups)
        self._insides = [tuple(dict.fromkeys(c.inside for c in menu)) for menu in self.menus]
        if any(inside.of_weights != NEUTRAL for menu in self._insides for inside in menu):
            problem.store.prepare(self._insides)

    def constraint(self) -> CoupledConstraint:
        """Returns what can meet the problem's budgets.

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
                np.array([at[layer.units_kept(c.channels)] if at else 0 for c in menu], np.int64)
            )

        def table(step: int, levels: Levels) -> Costs:
            return self._costs(step, levels, names, counts)

        coupling = Coupling(
            n_levels=tuple(len(counts[group.name]) for group in self._groups),
            leads=tuple(place.get(layer.name, -1) for layer in self.layers),
            own=tuple(own),
            reads=tuple(tuple(place[r.group] for r in reads) for reads in self._reads),
            table=table,
        )
        quantized = any(all(c.weight_bits < 32 for c in menu) for menu in self.menus)
        sides = [16] if quantized else [16, 32]
        fixed = np.array(
            [
                max(problem.costs[n].fixed(bits) for bits in sides) + _RECORD * (n == "size")
                for n in names
            ],
            np.int64,
        )
        limits = np.array([problem.limits[n] for n in names], np.int64) - fixed
        result = CoupledConstraint(coupling, limits, problem.settings.floor)
        if not result.possible:
            for name, value in zip(names, (result.cheapest + fixed).tolist(), strict=True):
                if value > problem.limits[name]:
                    cost = problem.costs[name]
                    raise BudgetError(
                        f"The budget must be within reach, but {name} <= "
                        f"{problem.limits[name]:,} {cost.unit} is not: this search space reaches "
                        f"{value:,} {cost.unit} at least ({name}={value / cost.reference:.2%}); "
                        "raise the budget or widen the space."
                    )
        return result

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
            found.append(np.array([at[c.inside] + shaped[c.structure] for c in menu]))
        return found

    def _counts(self) -> dict[str, list[int]]:
        """Returns, per group, the counts of units that its menu offers, the fewest first."""
        leaders = dict(zip((x.name for x in self.layers), self.menus, strict=True))
        by_name = {layer.name: layer for layer in self.layers}
        return {
            group.name: sorted(
                {by_name[group.name].units_kept(c.channels) for c in leaders[group.name]}
            )
            for group in self._groups
        }

    def _costs(
        self, step: int, levels: Levels, names: Sequence[str], counts: dict[str, list[int]]
    ) -> Costs:
        reads = self._reads[step]
        gone = {
            r.group: next(g.units for g in self._groups if g.name == r.group)
            - counts[r.group][level]
            for r, level in zip(reads, levels, strict=True)
        }
        values = {c: self._of(step, reads, gone, c, names) for c in self._insides[step]}
        return np.array([values[c.inside] for c in self.menus[step]], np.int64)

    def _of(
        self, step: int, reads: Sequence[Reads], gone: dict[str, int], inside: Choice,
        names: Sequence[str],
    ) -> list[int]:  # fmt: skip
        layer = self.layers[step]
        small = sliced_spec(layer, reads, gone)
        return [
            self._bytes(step, small, inside)
            if name == "size"
            else self.problem.costs[name].of_layer(small, inside)
            for name in names
        ]

    def _bytes(self, step: int, small: LayerSpec, inside: Choice) -> int:
        layer = self.problem.network.layers[step]
        whole = self.problem.costs["size"].of_layer(layer, inside)
        if inside.of_weights == NEUTRAL or small.n_weights == layer.n_weights:
            return -(-whole * small.n_weights // layer.n_weights)
        return int(np.ceil(whole * small.n_weights / layer.n_weights * MARGIN))

    def _structure_losses(self) -> list[dict[Choice, float]]:
        """Measures what each group's removals do to the outputs, one group at a time.

        As `CompressionProblem.losses` does for compressed weights: the divergence from the dense
        outputs on calibration images, batch norms on batch statistics, a few counts a group, and a
        monotone curve over the share that is gone.
        """
        variants = self.problem.variants
        groups = {group.name: group for group in self._groups}
        images = self.problem.slope_inputs()
        model = copy.deepcopy(variants.source)
        network = variants.network
        dense = {x.parameter: model.get_parameter(x.parameter).detach().clone()
                 for x in network.layers}  # fmt: skip
        biases = {n: p.detach().clone() for n, p in model.named_parameters() if n.endswith("bias")}

        def write(name: str, choice: Choice | None) -> None:
            with torch.no_grad():
                for parameter, value in (*dense.items(), *biases.items()):
                    model.get_parameter(parameter).copy_(value)
            if choice is not None:
                plan = Plan({x.name: choice if x.name == name else NEUTRAL for x in self.layers})
                repair(model, network, variants.moments, [groups[name]], variants.kept(plan))

        structures = [tuple(dict.fromkeys(c.structure for c in menu)) for menu in self.menus]
        measured: list[list[Choice]] = []
        for layer, menu in zip(self.layers, structures, strict=True):
            chosen = []
            for criterion in dict.fromkeys(c.criterion for c in menu if c.channels != 1):
                some = [c for c in menu if c.channels != 1 and c.criterion == criterion]
                some.sort(key=lambda c: c.channels)
                at = np.unique(np.linspace(0, len(some) - 1, _MEASURED).round().astype(int))
                chosen += [some[i] for i in at]
            measured.append(chosen if layer.name in groups else [])
        values = divergences(model, network.layers, measured, write, images)
        found = []
        for menu, chosen, losses in zip(structures, measured, values, strict=True):
            losses_of = {NEUTRAL: 0.0}
            for criterion in dict.fromkeys(c.criterion for c in menu if c.channels != 1):
                points = [
                    (1 - c.channels, loss)
                    for c, loss in zip(chosen, losses, strict=True)
                    if c.criterion == criterion
                ]
                some = [c for c in menu if c.channels != 1 and c.criterion == criterion]
                curve = loss_curve(points, [1 - c.channels for c in some])
                losses_of.update(zip(some, curve.tolist(), strict=True))
            found.append(losses_of)
        return found
