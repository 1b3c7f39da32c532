"""What a learning agent leaves in a run folder as it goes: networks, and looks at its policy."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from autocomp.agents.policy import propose
from autocomp.search_spaces import FeasibleSpace

from autocomp.storage.files import write_bytes

NETWORKS = "agent.zip"
LOOKS = "policy.jsonl"
_COUNT = 20
"""Looks per search."""


class PolicyCheckpoints:
    """Saves the algorithm and its deterministic plan about twenty times a search.

    `agent.zip` is replaced whole, so that a run that is killed keeps a policy that can be read;
    `policy.jsonl` grows by a line a look: `{"evaluations": n, "actions": [[...], ...]}`.

    Args:
        folder: the run folder.
        feasible: the problem's feasible space.
        env: the environment that the policy acts in.
        n_evaluations: evaluations of the search.
    """

    def __init__(self, folder: Path, feasible: FeasibleSpace, env: str, n_evaluations: int) -> None:
        self._folder, self._feasible, self._env = folder, feasible, env
        self._step = -(-n_evaluations // _COUNT)
        self._next = 0
        (folder / LOOKS).unlink(missing_ok=True)  # a resumed search makes its looks again

    def look(self, model: Any, done: int, last: bool = False) -> None:
        """Looks if it is time; `done` counts the evaluations so far."""
        if done < self._next and not last:
            return
        self._next = done + self._step
        save(model, self._folder)
        actions = propose(model, self._feasible, self._env).actions.round(4).tolist()
        with (self._folder / LOOKS).open("a") as file:
            file.write(json.dumps({"evaluations": done, "actions": actions}) + "\n")


def save(model: Any, folder: Path) -> Path:
    """Writes an algorithm of Stable-Baselines3 as `agent.zip`, all or nothing; returns the path."""
    buffer = io.BytesIO()
    model.save(buffer, exclude=["env", "replay_buffer", "action_noise", "_last_obs"])
    write_bytes(folder / NETWORKS, buffer.getvalue())
    return folder / NETWORKS
