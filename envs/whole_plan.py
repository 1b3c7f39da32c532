"""The whole plan as one action."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from autocomp.envs.layerwise import Evaluate, as_feasible, evaluate_feasible, result_of
from autocomp.envs.options import check_options
from autocomp.envs.render import METADATA, check_mode, plan_text
from autocomp.envs.rewards import Reward, Step, find_reward, heard
from autocomp.search_spaces import FeasibleSpace, SearchSpace
from gymnasium import spaces
from numpy.typing import NDArray

from autocomp.errors import AgentError
from autocomp.problem.problem import CompressionProblem


class WholePlanEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """One step compresses the whole network.

    ## Description
    The action is the vector of all layers' actions. It is moved as a whole, by the same amount in
    every entry, to the least compressed plan that meets every budget; so no layer pays for its
    place in the network. `info["executed_action"]` is the vector of the plan that was evaluated.
    In the `coefficients` space a solver makes the plan, and the action is executed as it is.

    ## Observation Space
    `Box(0, 1, (3,))`: the tightest budget as a share of the dense network, the cheapest plan over
    the budget, the budget over the dearest plan.

    ## Action Space
    `Box(-1, 1, (n_layers * width,))` or the `MultiDiscrete` of all layers.

    ## Reward
    As in `LayerwiseEnv`, of its last step, with the losses of all layers summed.

    ## Episode End
    Terminates after one step; never truncates.

    Args:
        problem: the problem.
        space: the action space, by name or as an object.
        reward: the reward, by name or as a function.
        evaluate: what scores a plan; the problem's own `evaluate` by default.
        render_mode: None, or "ansi": `render` returns the last plan as text.
    """

    metadata: dict[str, Any] = METADATA

    def __init__(
        self,
        problem: CompressionProblem | FeasibleSpace | None = None,
        space: str | SearchSpace = "joint",
        reward: str | Reward = "merit",
        evaluate: Evaluate | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = check_mode(render_mode)
        self.feasible = as_feasible(problem, space)
        self.reward = find_reward(reward)
        self._evaluate = evaluate or self.feasible.problem.evaluate
        self.action_space = self.feasible.vector.action_space
        self.observation_space = spaces.Box(0.0, 1.0, (3,), np.float32)
        self._observation = self._observe()
        self._ended = True  # reset() comes first
        self._indices: list[int] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Returns the one observation there is."""
        super().reset(seed=seed)
        # every plan is given whole here, so it makes no difference
        check_options(options, {"enforce_utilisation": bool})
        self._ended, self._indices = False, []
        return self._observation.copy(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Evaluates the feasible plan that `action` is moved to."""
        feasible = self.feasible
        if self._ended:
            raise AgentError("The episode is over; call reset() before the next step().")
        indices, executed = feasible.actions.execute_whole(action)
        outcome = evaluate_feasible(feasible, indices, self._evaluate)
        loss = float(feasible.estimate(np.array([indices]))[0])
        self._ended, self._indices = True, indices
        reward = heard(self.reward, Step(loss, loss, result_of(feasible.problem, outcome)))
        info = {"plan": outcome.plan, "outcome": outcome, "executed_action": executed}
        return self._observation.copy(), reward, True, False, info

    def render(self) -> str | None:
        """Returns the plan that was evaluated as text in mode "ansi", else None."""
        return plan_text(self.feasible, self._indices) if self.render_mode else None

    def _observe(self) -> NDArray[np.float32]:
        problem, allocation = self.feasible.problem, self.feasible.allocation
        limits = np.maximum(allocation.limits, 1)
        ratios = [problem.limits[b.cost] / max(1, problem.costs[b.cost].reference)
                  for b in problem.budgets]  # fmt: skip
        values = [
            min(ratios),
            float((allocation.cheapest / limits).max()),
            float((limits / np.maximum(allocation.dearest, 1)).min()),
        ]
        return np.clip(values, 0, 1).astype(np.float32)
