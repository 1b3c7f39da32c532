"""Several problems and budgets behind one environment: where a policy that travels is trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from autocomp.envs.layerwise import LayerwiseEnv
from autocomp.envs.rewards import Result
from autocomp.search_spaces.feasible_space import PlanMenu
from numpy.typing import NDArray

from autocomp.core.fidelity import Fidelity
from autocomp.errors import AgentError, unknown

LEVELS = (Fidelity.ESTIMATE, Fidelity.SCREEN)
_WORST = -3.0


class TrainingTask(LayerwiseEnv):
    """One problem at one budget, whose plans are judged against the exact solver's.

    The merit of a plan is by what share its loss lies below that of the solver's own plan, -3 at
    the worst: (loss(solver) - loss(plan)) / loss(solver). So lessons of any network and budget
    weigh the same. Everything else is as in `LayerwiseEnv`.

    Args:
        menu: the problem's menu.
        level: "F0" (the estimated loss; nothing is evaluated) or "F1" (the measured divergence).
    """

    def __init__(self, menu: PlanMenu, level: Fidelity | str = Fidelity.SCREEN) -> None:
        if level not in LEVELS:
            raise AgentError(unknown("level", level, LEVELS))
        super().__init__(menu)
        self.level = Fidelity.of(level)

    @cached_property
    def standard(self) -> float:
        """The loss of the solver's plan, in nats."""
        return max(self._loss_of(self.menu.solver.plan), 1e-9)

    def judged(self, indices: list[int], info: dict[str, Any]) -> Result:
        """Compares a whole plan with the solver's; adds it to `info`."""
        info["plan"] = self.menu.plan(indices)
        loss = self._loss_of(indices)
        share = max(_WORST, (self.standard - loss) / self.standard)
        cost = float(self.menu.feasibility.total(indices)[0])
        return Result(accuracy=share, loss=loss, dense_accuracy=0.0, cost=cost, merit=share)

    def _loss_of(self, indices: Sequence[int]) -> float:
        if not self.level.evaluates:
            return float(self.menu.estimate(np.array([indices]))[0])
        return self.menu.problem.evaluate(self.menu.plan(indices)).divergence


class MultiTaskEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """Draws a lesson at each reset; observations are size-free and hold the budget.

    ## Description
    Layer by layer as in `LayerwiseEnv`; episodes are as long as the lesson's network is deep.

    ## Observation Space, Action Space
    Those of `LayerwiseEnv`, the same for all lessons.

    ## Reward
    0 but at the end, where it is the lesson's merit; see `TrainingTask`.

    ## Starting State
    The first layer of a lesson that is drawn evenly, or of the one that `reset` is given as
    `options={"lesson": i}`.

    ## Episode End
    Terminates after the last layer; never truncates. `info` holds `lesson`, at the end `plan`.

    Args:
        menus: the lessons' menus, all of one action space.
        level: "F0" or "F1", see `TrainingTask`.

    Raises:
        AgentError: if there is no menu, or their action spaces differ.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, menus: Sequence[PlanMenu], level: Fidelity | str = Fidelity.SCREEN) -> None:
        if not menus:
            raise AgentError("A curriculum needs at least one problem; give its menu.")
        self.lessons = [TrainingTask(menu, level) for menu in menus]
        first = self.lessons[0]
        for lesson in self.lessons:
            if lesson.action_space != first.action_space:
                raise AgentError(
                    f"All lessons must have one action space, but got {first.action_space} and "
                    f"{lesson.action_space}; make their menus with one search space."
                )
        self.action_space = first.action_space
        self.observation_space = first.observation_space
        self._at = 0

    @property
    def longest(self) -> PlanMenu:
        """The menu of the deepest network."""
        return max((lesson.menu for lesson in self.lessons), key=len)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts a lesson."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(len(self.lessons)))
        self._at = int((options or {}).get("lesson", drawn))
        if not 0 <= self._at < len(self.lessons):
            raise AgentError(
                f"`0 <= lesson < {len(self.lessons)}` must hold, but got lesson={self._at}."
            )
        observation, info = self.lessons[self._at].reset(options=options)
        return observation, {**info, "lesson": self._at}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Executes the feasible choice nearest to `action` on the current layer."""
        observation, reward, done, truncated, info = self.lessons[self._at].step(action)
        return observation, reward, done, truncated, {**info, "lesson": self._at}
