"""The menu of the `coefficients` space: actions are multipliers, and a solver makes the plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from autocomp.search_spaces import Action, CoefficientSpace, SearchSpace, VectorSpace, make_space
from autocomp.search_spaces.coupled_feasible import CoupledMenu
from autocomp.search_spaces.feasible_space import SPREAD, Floats, Mask, PlanMenu

from autocomp.core.budget import Budget
from autocomp.errors import SpaceError
from autocomp.problem.problem import CompressionProblem


class CoefficientMenu(PlanMenu):
    """A menu on which every action is feasible: the solver sees to the budgets.

    At once: the plan of least sum_t m_t * loss_t within the budgets, m_t being the multipliers.
    Layer by layer: argmin_i m_t * loss_t(i) + V_{t+1}(what is left), the least loss of the layers
    after it with neutral multipliers. Neutral actions give the solver's own plan both ways.

    Plans keep their actions by memory; layer by layer they also have them by inversion, for
    a choice is the solver's for an interval of multipliers. A plan that no multipliers are known
    to make (a uniform one, most often) has none.
    """

    def __init__(self, problem: CompressionProblem, space: CoefficientSpace) -> None:
        super().__init__(problem, space.inner)
        self.space = self.coefficients = space
        self.vector = VectorSpace(space, self.layers)
        self.spread = min(1.0, 1 / space.span)  # an agent's sigma is one of log-multipliers
        self._walked: dict[tuple[int, ...], Floats] = {}
        self._made: dict[tuple[int, ...], Floats] = {}

    def under(self, budgets: Iterable[str | Budget]) -> CoefficientMenu:
        """Returns this menu under other budgets; see `PlanMenu.under`."""
        other = super().under(budgets)
        assert isinstance(other, CoefficientMenu)  # a copy of this one
        other._walked, other._made = {}, {}
        return other

    def action_range(self, step: int, mask: Mask) -> tuple[Floats, Floats]:
        """Returns -1 and 1: every action is feasible."""
        return np.full(1, -1.0), np.ones(1)

    def execute(
        self, prefix: Sequence[int], action: Action, enforce_utilisation: bool = True
    ) -> tuple[int, Action]:
        """Returns the solver's choice, and the action itself."""
        entry = self._entries(action)
        used = self.feasibility.spent(prefix)
        multiplier = self.coefficients.multiplier(float(entry[0]))
        index = self.solver.choose(len(prefix), used, multiplier)
        return index, self.coefficients.action(entry)

    def execute_whole(self, action: Action) -> tuple[list[int], Action]:
        """Returns the solver's plan, and the action itself."""
        entries = self._entries(self.vector.split(action))
        return self.fit(entries), self.coefficients.action(entries.reshape(-1))

    def project(
        self, prefix: Sequence[int], action: Action, enforce_utilisation: bool = True
    ) -> int:
        """Returns the solver's choice; see `execute`."""
        return self.execute(prefix, action)[0]

    def fit(self, actions: Floats) -> list[int]:
        """Returns the solver's plan for all multipliers at once, `(n_layers, 1)` entries."""
        entries = self.coefficients.snap(actions)
        indices = self.solver.reweighted(np.exp(self.coefficients.span * entries[:, 0]))
        self._made.setdefault(tuple(indices), entries)
        return indices

    def walk(self, actions: Floats) -> list[int]:
        """Returns the plan of one multiplier after the other, front to back."""
        entries = self.coefficients.snap(actions)
        used = self.feasibility.spent(())
        indices: list[int] = []
        for t, multiplier in enumerate(np.exp(self.coefficients.span * entries[:, 0]).tolist()):
            indices.append(self.solver.choose(t, used, multiplier))
            used = used + self.model.costs[t][indices[-1]]
        self._walked.setdefault(tuple(indices), entries)
        return indices

    def step_actions(self, indices: Sequence[int]) -> list[Action] | None:
        """Returns the actions of a plan, remembered or by inversion; None if there are none."""
        rows = self._step_entries(indices)
        return None if rows is None else [self.coefficients.action(row) for row in rows]

    def whole_action(self, indices: Sequence[int]) -> Action | None:
        """Returns the remembered action of a plan; None if there is none."""
        rows = self._whole_entries(indices)
        return None if rows is None else self.coefficients.action(rows.reshape(-1))

    def vary(
        self, indices: Sequence[int], rng: np.random.Generator, layerwise: bool = False
    ) -> list[int]:
        """Returns the plan of multipliers around the given plan's, neutral if it has none."""
        rows = self._step_entries(indices) if layerwise else self._whole_entries(indices)
        base = np.zeros((len(self), 1)) if rows is None else rows
        sigma = max(SPREAD * self.spread, self.coefficients.resolution / 2)
        varied = base + rng.normal(0, sigma, base.shape)
        return self.walk(varied) if layerwise else self.fit(varied)

    def _whole_entries(self, indices: Sequence[int]) -> Floats | None:
        if list(indices) == self.solver.plan:
            return np.zeros((len(self), 1))
        return self._made.get(tuple(indices))

    def _step_entries(self, indices: Sequence[int]) -> Floats | None:
        if (known := self._walked.get(tuple(indices))) is not None:
            return known
        rows = np.zeros((len(self), 1))
        used = self.feasibility.spent(())
        for t, index in enumerate(indices):
            interval = self.solver.interval(t, used, index)
            if interval is None:
                return None
            rows[t] = self.coefficients.snap(np.array([self.coefficients.entry(*interval)]))
            multiplier = self.coefficients.multiplier(float(rows[t, 0]))
            if self.solver.choose(t, used, multiplier) != index:
                return None  # the interval lies beyond the span, or between two levels
            used = used + self.model.costs[t][index]
        return rows

    def _entries(self, action: Action) -> Floats:
        entries = self.normalise(action)
        if not np.isfinite(entries).all():
            raise SpaceError(f"An action must hold finite numbers, but got {action!r}.")
        return self.coefficients.snap(entries)


def make_menu(problem: CompressionProblem, space: str | SearchSpace) -> PlanMenu:
    """Returns the menu of a problem and a space, whatever the space's actions mean.

    Raises:
        BudgetError: if no plan of the space meets the budgets.
    """
    space = make_space(space)
    if isinstance(space, CoefficientSpace):
        if getattr(space.inner, "structural", False):
            raise SpaceError(
                "`coefficients` needs costs that add up over layers, but channels couple them; "
                "search that space itself, or take coefficients of another menu."
            )
        return CoefficientMenu(problem, space)
    if getattr(space, "structural", False):
        return CoupledMenu(problem, space)
    return PlanMenu(problem, space)
