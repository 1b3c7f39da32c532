"""A learned policy, replayed on its problem: nothing is evaluated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from autocomp.agents.reinforcement.agent import ReinforcementAgent, private_random_state
from autocomp.agents.reinforcement.checkpoints import LOOKS
from autocomp.agents.reinforcement.proposal import Proposal, propose
from autocomp.agents.reinforcement.transfer import algorithm_of
from autocomp.core.budget import Budget
from autocomp.envs import ENVS, PlanMenu
from autocomp.envs.observations import Observer, feature_names
from autocomp.errors import BudgetError
from autocomp.inspection.policy import Influence, Movement, PolicyPicture, Surface, Sweep

FACTORS = tuple(2 ** (step / 4) for step in range(-4, 5))
"""Budgets of the sweep, as multiples of the run's own."""
GRID = 17
_COARSE = 9
_SHUFFLES = 4
_PLAN_FEATURES = ("budget ratio", "cheapest plan", "room above dearest")


class PolicyReplay:
    """Asks a saved policy what it would do.

    Args:
        agent: the agent of the run; its `policy` names the saved networks.
        menu: the run's menu.
    """

    def __init__(self, agent: ReinforcementAgent, menu: PlanMenu) -> None:
        self._menu, self._env = menu, agent.env
        with (
            private_random_state(),
            gymnasium.make(ENVS[agent.env], problem=menu, disable_env_checker=True) as env,
        ):
            self._model = agent.learned(env, menu)

    def picture(self, folder: Path) -> PolicyPicture:
        """Returns everything that is shown of the policy; movement comes from the run folder."""
        menus = self._menus()
        proposals = [propose(self._model, menu, self._env) for _, menu in menus]
        own = next(i for i, (_, menu) in enumerate(menus) if menu is self._menu)
        return PolicyPicture(
            algorithm=algorithm_of(self._model),
            entries=entry_names(self._menu),
            layers=tuple(layer.name for layer in self._menu.layers),
            unit=self._unit(),
            sweep=self._sweep(menus, proposals, own),
            surfaces=self._surfaces(proposals[own]),
            influences=self._influences(np.concatenate([p.observations for p in proposals])),
            movement=movement(folder),
        )

    def _menus(self) -> list[tuple[str, PlanMenu]]:
        """Returns the budgets that can be met around the run's own, with their menus."""
        problem = self._menu.problem
        found: list[tuple[str, PlanMenu]] = []
        for factor in FACTORS:
            shares = {
                name: limit * factor / max(1, problem.costs[name].reference)
                for name, limit in problem.limits.items()
            }
            label = ", ".join(f"{name}={share:.2%}" for name, share in shares.items())
            if factor == 1:
                found.append((label, self._menu))
                continue
            if max(shares.values()) > 1:
                continue  # above the dense network nothing is asked
            try:
                budgets = [Budget(name, share, True) for name, share in shares.items()]
                found.append((label, self._menu.under(budgets)))
            except BudgetError:
                continue
        return found

    def _sweep(
        self, menus: Sequence[tuple[str, PlanMenu]], proposals: Sequence[Proposal], own: int
    ) -> Sweep:
        return Sweep(
            budgets=tuple(label for label, _ in menus),
            own=own,
            actions=tuple(_rows(p.actions) for p in proposals),
            choices=tuple(
                tuple(str(menu.choices[t][i]) for t, i in enumerate(p.indices))
                for (_, menu), p in zip(menus, proposals, strict=True)
            ),
            estimated=tuple(
                float(menu.estimate(np.array([p.indices]))[0])
                for (_, menu), p in zip(menus, proposals, strict=True)
            ),
            solver=tuple(float(m.estimate(np.array([m.solver.plan]))[0]) for _, m in menus),
        )

    def _unit(self) -> str:
        if hasattr(self._model, "critic"):
            return "Q: the return that the critic expects, in deviations of the first returns"
        return "V of the state that follows, in deviations of the first returns"

    def _surfaces(self, proposal: Proposal) -> tuple[Surface, ...]:
        width = self._menu.vector.width
        # a critic judges all actions at once; a state's value takes a step of the environment
        xs = np.linspace(-1, 1, GRID if hasattr(self._model, "critic") else _COARSE)
        ys = xs if width > 1 else np.zeros(1)
        found = []
        for step, layer in enumerate(self._menu.layers):
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

    @torch.no_grad()
    def _values(
        self, step: int, grid: NDArray[np.float64], proposal: Proposal
    ) -> NDArray[np.float64] | None:
        """Returns the critic's value of each action `(n, width)` at a layer; None without one."""
        if hasattr(self._model, "critic"):
            if self._env == "whole-plan":
                whole = np.tile(proposal.actions.reshape(-1), (len(grid), 1))
                width = grid.shape[1]
                whole[:, step * width : (step + 1) * width] = grid
                grid, seen = whole, proposal.observations[0]
            else:
                seen = proposal.observations[step]
            observations = torch.as_tensor(np.tile(seen, (len(grid), 1)))
            judged = self._model.critic(observations, torch.as_tensor(grid, dtype=torch.float32))
            return torch.cat(judged, 1).min(1).values.double().numpy()
        if self._env == "whole-plan" or step + 1 == len(self._menu):
            return None  # no state follows
        return self._following(step, grid, proposal.indices[:step])

    def _following(
        self, step: int, grid: NDArray[np.float64], prefix: list[int]
    ) -> NDArray[np.float64]:
        """Returns the value of the state behind each action, as the environment executes it."""
        menu, observer = self._menu, Observer(self._menu)
        values: dict[tuple[int, bytes], float] = {}
        found = []
        for row in grid:
            index, action = menu.execute(prefix, menu.action(row))
            last = menu.normalise(action)
            key = (index, last.tobytes())
            if key not in values:
                after = [*prefix, index]
                seen = observer.observe(after, menu.feasibility.mask(after), last)
                value = self._model.policy.predict_values(torch.as_tensor(seen[None]))
                values[key] = float(value)
            found.append(values[key])
        return np.array(found)

    def _influences(self, observations: NDArray[np.float32]) -> tuple[Influence, ...]:
        width = self._menu.vector.width
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
        width = self._menu.vector.width
        rows = acted.reshape(-1, width)
        return np.array([self._menu.normalise(row) for row in rows])


def entry_names(menu: PlanMenu) -> tuple[str, ...]:
    """Returns what the entries of an action mean."""
    axes: Any = getattr(menu.space, "axes", None)
    if axes is not None:
        return tuple(axis.field.replace("_", " ") for axis in axes)
    if menu.vector.width == 1:
        return ("log multiplier",) if hasattr(menu.space, "span") else ("action",)
    return tuple(f"action {i}" for i in range(menu.vector.width))


def movement(folder: Path) -> Movement:
    """Reads the looks at a policy that a run has kept; a line that was cut off ends them."""
    file = folder / LOOKS
    evaluations, actions = [], []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            look = json.loads(line)
        except ValueError:
            break
        evaluations.append(int(look["evaluations"]))
        actions.append(tuple(tuple(row) for row in look["actions"]))
    return Movement(tuple(evaluations), tuple(actions))


def _rows(values: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.asarray(values, np.float64).round(4).tolist())
