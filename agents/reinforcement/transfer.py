"""Taking over a policy that was learned elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from autocomp.agents.reinforcement.checkpoints import NETWORKS
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file

from autocomp.core.dtypes import is_dense
from autocomp.errors import AgentError
from autocomp.storage.archives import unpacked_bytes

_TIMES, _SPARE = 8, 1 << 24
"""How many times the networks' bytes, and how many more, an agent's file may take unpacked."""


def policy_file(path: str | Path) -> Path:
    """Returns the file that a run folder, or the file itself, names.

    Raises:
        AgentError: if there is none.
    """
    file = Path(path) / NETWORKS if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise AgentError(
            f"`policy` must name a run of a learning agent (ddpg, td3, sac, ppo), or its "
            f"{NETWORKS}, but {str(path)!r} is neither; name another run."
        )
    return file


def _is_plain(value: Any) -> bool:
    """Whether a value is a tensor of finite numbers, as networks have."""
    return (
        isinstance(value, torch.Tensor)
        and is_dense(value)
        and value.is_floating_point()
        and bool(torch.isfinite(value).all())
    )


def algorithm_of(model: Any) -> str:
    """Returns the name of the Stable-Baselines3 class that an algorithm is made of."""
    library = (c for c in type(model).__mro__ if c.__module__.startswith("stable_baselines3"))
    return next(library).__name__


def load_policy(model: BaseAlgorithm, path: str | Path) -> None:
    """Loads the networks of a saved algorithm into a new one; optimisers start anew.

    Observations are size-free and hold the budget, so the problems may differ; the algorithm and
    the shapes of the spaces may not. A continuous PPO policy keeps the new spread, since the old
    one has shrunk.

    Raises:
        AgentError: if the file is damaged, of another algorithm, or of spaces of other shapes.
    """
    file = policy_file(path)
    own = model.policy.state_dict()
    # networks, targets, and an optimiser's two moments of each
    most = _SPARE + _TIMES * sum(t.numel() * t.element_size() for t in own.values())
    try:
        if unpacked_bytes(file) > most:
            raise ValueError("too large")
        # weights alone: the file's other parts are pickles, which could run anything
        _, parameters, _ = load_from_zip_file(file, device="cpu", load_data=False)
        weights: dict[str, torch.Tensor] = dict(parameters["policy"])
    except Exception as error:  # a damaged file fails in zipfile, torch or the library
        raise AgentError(
            f"`policy` must be an agent that a run has saved, but {str(file)!r} cannot be read "
            f"({type(error).__name__}); name another run."
        ) from None
    if set(weights) != set(own):
        raise AgentError(
            f"The policy in {str(file)!r} must be of the search's algorithm and kind of action, "
            f"but its networks have other parts than those of {algorithm_of(model)} here; give the "
            "agent and space that the run was made with."
        )
    for name, value in weights.items():
        if not _is_plain(value):
            raise AgentError(
                f"The policy in {str(file)!r} must hold finite numbers, but its {name} does not; "
                "name another run."
            )
        if value.shape != own[name].shape:
            raise AgentError(
                f"The policy in {str(file)!r} must fit the search, but its {name} has shape "
                f"{tuple(value.shape)} and the search's {tuple(own[name].shape)}; use the space "
                "and environment that it was learned in."
            )
    if "log_std" in weights:
        weights["log_std"] = own["log_std"]
    model.policy.load_state_dict(weights)
