"""Several problems and budgets behind one environment: where a policy that travels is trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from autocomp.envs.layerwise import LayerwiseEnv
from autocomp.envs.options import check_options
from autocomp.envs.render import METADATA, check_mode
from autocomp.envs.rewards import Result
from autocomp.search_spaces.feasible_space import FeasibleSpace
from numpy.typing import NDArray

from autocomp.core.fidelity import Fidelity
from autocomp.errors import AgentError, unknown

LEVELS = (Fidelity.ESTIMATE, Fidelity.SCREEN)
_WORST = -3.0


class TrainingTask(LayerwiseEnv):
    """One problem at one budget, whose plans are judged against the exact solver's.

    The merit of a plan is by what share its loss lies below that of the solver's own plan, -3 at
    the worst: (loss(solver) - loss(plan)) / loss(solver). So tasks of any network and budget
    weigh the same. Everything else is as in `LayerwiseEnv`.

    Args:
        feasible: the problem's feasible space.
        level: "F0" (the estimated loss; nothing is evaluated) or "F1" (the measured gap).
    """

    def __init__(
        self,
        feasible: FeasibleSpace,
        level: Fidelity | str = Fidelity.SCREEN,
        render_mode: str | None = None,
    ) -> None:
        if level not in LEVELS:
            raise AgentError(unknown("level", level, LEVELS))
        super().__init__(feasible, render_mode=render_mode)
        self.level = Fidelity.of(level)

    @cached_property
    def standard(self) -> float:
        """The loss of the solver's plan, in nats."""
        return max(self._loss_of(self.feasible.allocation.plan), 1e-9)

    def judged(self, indices: list[int], info: dict[str, Any]) -> Result:
        """Compares a whole plan with the solver's; adds it to `info`."""
        info["plan"] = self.feasible.plan(indices)
        loss = self._loss_of(indices)
        share = max(_WORST, (self.standard - loss) / self.standard)
        cost = float(self.feasible.allocation.total(indices)[0])
        return Result(accuracy=share, loss=loss, dense_accuracy=0.0, cost=cost, merit=share)

    def _loss_of(self, indices: Sequence[int]) -> float:
        if not self.level.evaluates:
            return float(self.feasible.estimate(np.array([indices]))[0])
        return -self.feasible.problem.evaluate(self.feasible.plan(indices)).merit


class MultiTaskEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """Draws a task at each reset; observations are size-free and hold the budget.

    ## Description
    Layer by layer as in `LayerwiseEnv`; episodes are as long as the task's network is deep.

    ## Observation Space, Action Space
    Those of `LayerwiseEnv`, the same for all tasks.

    ## Reward
    0 but at the end, where it is the task's merit; see `TrainingTask`.

    ## Starting State
    The first layer of a task that is drawn evenly, or of the one that `reset` is given as
    `options={"task": i}`.

    ## Episode End
    Terminates after the last layer; never truncates. `info` holds `task`, at the end `plan`.

    Args:
        feasibles: the problems' feasible spaces, all of one action space.
        level: "F0" or "F1", see `TrainingTask`.
        render_mode: None, or "ansi".

    Raises:
        AgentError: if there is none, or their action spaces differ.
    """

    metadata: dict[str, Any] = METADATA

    def __init__(
        self,
        feasibles: Sequence[FeasibleSpace],
        level: Fidelity | str = Fidelity.SCREEN,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = check_mode(render_mode)
        if not feasibles:
            raise AgentError("Training needs at least one problem; give its feasible space.")
        self.tasks = [TrainingTask(feasible, level, render_mode) for feasible in feasibles]
        first = self.tasks[0]
        for task in self.tasks:
            if task.action_space != first.action_space:
                raise AgentError(
                    f"All problems must have one action space, but got {first.action_space} and "
                    f"{task.action_space}; build them with one search space."
                )
        self.action_space = first.action_space
        self.observation_space = first.observation_space
        self._at = 0

    @property
    def longest(self) -> FeasibleSpace:
        """The feasible space of the deepest network."""
        return max((task.feasible for task in self.tasks), key=len)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts a task."""
        super().reset(seed=seed)
        check_options(options, {"task": int, "enforce_utilisation": bool})
        drawn = int(self.np_random.integers(len(self.tasks)))
        self._at = int((options or {}).get("task", drawn))
        if not 0 <= self._at < len(self.tasks):
            raise AgentError(f"`0 <= task < {len(self.tasks)}` must hold, but got task={self._at}.")
        own = {k: v for k, v in (options or {}).items() if k != "task"}
        observation, info = self.tasks[self._at].reset(options=own)
        return observation, {**info, "task": self._at}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Executes the feasible choice nearest to `action` on the current layer."""
        observation, reward, done, truncated, info = self.tasks[self._at].step(action)
        return observation, reward, done, truncated, {**info, "task": self._at}

    def render(self) -> str | None:
        """Returns the plan so far as text in mode "ansi", else None."""
        return self.tasks[self._at].render()
