"""The layer-by-layer environment, as in AMC and HAQ, with exact feasibility."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from autocomp.envs.observations import Observer, feature_names
from autocomp.envs.options import check_options
from autocomp.envs.render import METADATA, check_mode, plan_text
from autocomp.envs.rewards import Result, Reward, Step, find_reward, heard
from autocomp.search_spaces import FeasibleSpace, SearchSpace, feasible_space
from gymnasium import spaces
from numpy.typing import NDArray

from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.errors import AgentError
from autocomp.problem.problem import CompressionProblem

Evaluate = Callable[[Plan], Outcome]


class LayerwiseEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """One episode compresses the network once, one layer a step.

    ## Description
    At each step the agent names a choice for the next layer (He et al. 2018, arXiv:1802.03494). The
    action is projected onto the choices from which every budget can still be met, computed exactly
    on whole numbers; the action that is *executed* is in `info["executed_action"]`, and that is the
    one to learn from. After the last layer the plan is evaluated.

    ## Observation Space
    `Box(-1, 1, (24 + 3 * width,))`; the table is in `autocomp.envs.observations`.

    ## Action Space
    The search space's own: `Box(-1, 1, (width,))`, `Discrete` or
    `MultiDiscrete`. Larger keeps more; in the
    `coefficients` space larger weighs the layer's loss more, and every action is feasible.

    ## Reward
    A pure function of the step, see `autocomp.envs.rewards`; "merit" is 0 but at the end.

    ## Starting State
    The first layer, nothing spent. The environment is deterministic. With the option
    `{"enforce_utilisation": False}` of `reset`, an episode may end far below its budgets: a given
    plan is followed whatever it spends.

    ## Episode End
    Terminates after the last layer; never truncates. The last `info` holds `plan` and `outcome`.

    Args:
        problem: the problem.
        space: the action space, by name or as an object.
        reward: the reward, by name or as a function.
        evaluate: what scores a plan; the problem's own `evaluate` by default. Agents pass one that
            counts.
        render_mode: None, or "ansi": `render` returns the plan so far as text.
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
        self._observer = Observer(self.feasible)
        self.action_space = self.feasible.space.action_space
        self._width = self.feasible.vector.width
        n = len(feature_names(self._width))
        self.observation_space = spaces.Box(-1.0, 1.0, (n,), np.float32)
        self._begin()

    def _begin(self) -> None:
        self._indices: list[int] = []
        self._last = np.zeros(self._width)
        self._loss = 0.0
        self._enforce = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts at the first layer."""
        super().reset(seed=seed)
        check_options(options, {"enforce_utilisation": bool})
        self._begin()
        self._enforce = (options or {}).get("enforce_utilisation", True)
        return self._observe(), {"layer": self.feasible.layers[0].name}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Executes the feasible choice nearest to `action` on the current layer."""
        t = len(self._indices)
        if t == len(self.feasible):
            raise AgentError("The episode is over; call reset() before the next step().")
        index, executed = self.feasible.actions.execute(self._indices, action, self._enforce)
        self._indices.append(index)
        self._last = self.feasible.normalise(executed)
        loss = float(self.feasible.losses[t][index])
        self._loss += loss
        info: dict[str, Any] = {
            "layer": self.feasible.layers[t].name,
            "choice": self.feasible.choices[t][index],
            "executed_action": executed,
        }
        result = None
        done = t + 1 == len(self.feasible)
        if done:
            result = self.judged(self.feasible.allocation.settle(self._indices), info)
        reward = heard(self.reward, Step(loss, self._loss, result))
        return self._observe(), reward, done, False, info

    def render(self) -> str | None:
        """Returns the plan so far as text in mode "ansi", else None."""
        return plan_text(self.feasible, self._indices) if self.render_mode else None

    def judged(self, indices: list[int], info: dict[str, Any]) -> Result:
        """Evaluates a whole plan; adds it and its outcome to `info`."""
        outcome = evaluate_feasible(self.feasible, indices, self._evaluate)
        info["plan"], info["outcome"] = outcome.plan, outcome
        return result_of(self.feasible.problem, outcome)

    def _observe(self) -> NDArray[np.float32]:
        t = min(len(self._indices), len(self.feasible) - 1)
        ended = len(self._indices) == len(self.feasible)
        if ended:  # nothing is left to decide; the last layer is shown, with everything feasible
            mask = np.ones(len(self.feasible.choices[t]), bool)
        else:
            mask = self.feasible.allocation.mask(self._indices, self._enforce)
        return self._observer.observe(self._indices, mask, self._last)


def as_feasible(
    problem: CompressionProblem | FeasibleSpace | None, space: str | SearchSpace
) -> FeasibleSpace:
    """Returns the space under the problem's budgets; AgentError without a problem."""
    if isinstance(problem, FeasibleSpace):
        return problem
    if problem is None:
        raise AgentError(
            "The environment needs a problem: "
            "gymnasium.make(ID, problem=CompressionProblem(model, data, 'size=10%'))."
        )
    return feasible_space(problem, space)


def evaluate_feasible(feasible: FeasibleSpace, indices: list[int], evaluate: Evaluate) -> Outcome:
    """Evaluates a plan after checking that it meets every budget."""
    if not feasible.meets(indices):
        raise AgentError(f"A plan left the budgets: {feasible.plan(indices)}; report this defect.")
    return evaluate(feasible.plan(indices))


def result_of(problem: CompressionProblem, outcome: Outcome) -> Result:
    """Returns what a reward may see of an outcome."""
    return Result(
        accuracy=outcome.utility,
        loss=outcome.loss,
        dense_accuracy=problem.dense_score(outcome.fidelity).utility,
        cost=float(outcome.costs[problem.budgets[0].cost]),
        merit=outcome.merit,
    )
