"""A learned policy, replayed on its problem: nothing is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autocomp.agents.policy import LearnedPolicy, Proposal, propose
from autocomp.agents.reinforcement.checkpoints import LOOKS
from autocomp.core.budget import Budget
from autocomp.envs.observations import Observer, feature_names
from autocomp.errors import BudgetError
from autocomp.inspection.policy import Influence, Movement, PolicyPicture, Surface, Sweep
from autocomp.search_spaces import FeasibleSpace
from autocomp.storage.json_files import parse_json
from autocomp.storage.reading import read_whole

FACTORS = tuple(2 ** (step / 4) for step in range(-4, 5))
"""Budgets of the sweep, as multiples of the run's own."""
_SHUFFLES = 4
_PLAN_FEATURES = ("budget ratio", "cheapest plan", "room above dearest")


class PolicyReplay:
    """Asks a saved policy what it would do.

    Args:
        learned: the policy that the run has left.
        feasible: the run's feasible space.
    """

    def __init__(self, learned: LearnedPolicy, feasible: FeasibleSpace) -> None:
        self._learned, self._feasible = learned, feasible
        self._model, self._critic, self._env = learned.model, learned.critic, learned.env

    def picture(self, folder: Path) -> PolicyPicture:
        """Returns everything that is shown of the policy; movement comes from the run folder."""
        menus = self._menus()
        proposals = [propose(self._model, feasible, self._env) for _, feasible in menus]
        own = next(i for i, (_, feasible) in enumerate(menus) if feasible is self._feasible)
        return PolicyPicture(
            algorithm=self._learned.algorithm,
            entries=self._feasible.space.entry_names,
            layers=tuple(layer.name for layer in self._feasible.layers),
            unit=self._critic.unit,
            sweep=self._sweep(menus, proposals, own),
            surfaces=self._surfaces(proposals[own]),
            influences=self._influences(np.concatenate([p.observations for p in proposals])),
            movement=movement(folder),
        )

    def _menus(self) -> list[tuple[str, FeasibleSpace]]:
        """Returns the budgets that can be met around the run's own, with their menus."""
        problem = self._feasible.problem
        found: list[tuple[str, FeasibleSpace]] = []
        for factor in FACTORS:
            shares = {
                name: limit * factor / max(1, problem.costs[name].reference)
                for name, limit in problem.limits.items()
            }
            label = ", ".join(f"{name}={share:.2%}" for name, share in shares.items())
            if factor == 1:
                found.append((label, self._feasible))
                continue
            if max(shares.values()) > 1:
                continue  # above the dense network nothing is asked
            try:
                budgets = [Budget(name, share, True) for name, share in shares.items()]
                found.append((label, self._feasible.under(budgets)))
            except BudgetError:
                continue
        return found

    def _sweep(
        self, menus: Sequence[tuple[str, FeasibleSpace]], proposals: Sequence[Proposal], own: int
    ) -> Sweep:
        return Sweep(
            budgets=tuple(label for label, _ in menus),
            own=own,
            actions=tuple(_rows(p.actions) for p in proposals),
            choices=tuple(
                tuple(str(feasible.choices[t][i]) for t, i in enumerate(p.indices))
                for (_, feasible), p in zip(menus, proposals, strict=True)
            ),
            estimated=tuple(
                float(feasible.estimate(np.array([p.indices]))[0])
                for (_, feasible), p in zip(menus, proposals, strict=True)
            ),
            solver=tuple(float(m.estimate(np.array([m.allocation.plan]))[0]) for _, m in menus),
        )

    def _surfaces(self, proposal: Proposal) -> tuple[Surface, ...]:
        width = self._feasible.vector.width
        # judging all actions at once is quick; a state's value takes a step of the environment
        xs = np.linspace(-1, 1, self._critic.grid)
        ys = xs if width > 1 else np.zeros(1)
        found = []
        for step, layer in enumerate(self._feasible.layers):
            grid = np.tile(proposal.actions[step], (len(ys) * len(xs), 1))
            grid[:, 0] = np.tile(xs, len(ys))
            if width > 1:
                grid[:, 1] = np.repeat(ys, len(xs))
            values = self._values(step, grid, proposal)
            if values is None:
                continue
            found.append(
                Surface(
                    layer=layer.name,
                    xs=tuple(xs.round(4).tolist()),
                    ys=tuple(ys.round(4).tolist()),
                    values=_rows(values.reshape(len(ys), len(xs))),
                    at=tuple(proposal.actions[step, : min(2, width)].round(4).tolist()),
                )
            )
        return tuple(found)

    def _values(
        self, step: int, grid: NDArray[np.float64], proposal: Proposal
    ) -> NDArray[np.float64] | None:
        """Returns the critic's value of each action `(n, width)` at a layer; None without one."""
        actions, seen = grid, proposal.observations[min(step, len(proposal.observations) - 1)]
        if self._env == "whole-plan":
            actions = np.tile(proposal.actions.reshape(-1), (len(grid), 1))
            width = grid.shape[1]
            actions[:, step * width : (step + 1) * width] = grid
        values = self._critic.values(np.tile(seen, (len(grid), 1)), actions)
        if values is not None:
            return values
        if self._env == "whole-plan" or step + 1 == len(self._feasible):
            return None  # no state follows
        return self._following(step, grid, proposal.indices[:step])

    def _following(
        self, step: int, grid: NDArray[np.float64], prefix: list[int]
    ) -> NDArray[np.float64]:
        """Returns the value of the state behind each action, as the environment executes it."""
        feasible, observer = self._feasible, Observer(self._feasible)
        values: dict[tuple[int, bytes], float] = {}
        found = []
        for row in grid:
            index, action = feasible.actions.execute(prefix, feasible.action(row))
            last = feasible.normalise(action)
            key = (index, last.tobytes())
            if key not in values:
                after = [*prefix, index]
                seen = observer.observe(after, feasible.allocation.mask(after), last)
                values[key] = self._critic.state_value(seen)
            found.append(values[key])
        return np.array(found)

    def _influences(self, observations: NDArray[np.float32]) -> tuple[Influence, ...]:
        width = self._feasible.vector.width
        names = _PLAN_FEATURES if self._env == "whole-plan" else feature_names(width)
        rng = np.random.default_rng(0)
        before = self._actions(observations)
        found = []
        for column, name in enumerate(names):
            changes = []
            for _ in range(_SHUFFLES):
                shuffled = observations.copy()
                shuffled[:, column] = rng.permutation(shuffled[:, column])
                changes.append(np.abs(self._actions(shuffled) - before).mean())
            found.append(Influence(name, float(np.mean(changes))))
        return tuple(sorted(found, key=lambda influence: -influence.effect))

    def _actions(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        acted = np.asarray(self._model.predict(observations, deterministic=True)[0])
        width = self._feasible.vector.width
        rows = acted.reshape(-1, width)
        return np.array([self._feasible.normalise(row) for row in rows])


def movement(folder: Path) -> Movement:
    """Reads the looks at a policy that a run has kept; a line that was cut off ends them."""
    file = folder / LOOKS
    evaluations, actions = [], []
    for line in read_whole(file).decode(errors="replace").splitlines() if file.exists() else []:
        try:
            look = parse_json(line)
            taken = tuple(tuple(map(float, row)) for row in look["actions"])
            evaluations.append(int(look["evaluations"]))
        except (ValueError, KeyError, TypeError):
            break
        actions.append(taken)
    return Movement(tuple(evaluations), tuple(actions))


def _rows(values: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.asarray(values, np.float64).round(4).tolist())
