"""A search with all its parts built, from what a user has named or given."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autocomp.agents import Agent, make_agent
from autocomp.agents.reinforcement.agent import ReinforcementAgent
from autocomp.agents.reinforcement.transfer import policy_file
from autocomp.compression.low_rank import make_decomposition
from autocomp.compression.weights import COMPRESSORS, Pipeline
from autocomp.compression.weights import GROUP as COMPRESSOR_GROUP
from autocomp.core.budget import Budget
from autocomp.data import DataSplits, load_data
from autocomp.envs import make_menu
from autocomp.errors import AgentError, AutocompError, RunError
from autocomp.models import build_architecture, build_model, note_source, noted_source, source_of
from autocomp.network.device import usable_device
from autocomp.network.fingerprint import fingerprint
from autocomp.network.modes import evaluation_mode
from autocomp.network.working_copy import working_copy
from autocomp.plugins.registry import find
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.runs.folder import Run
from autocomp.runs.settings import SearchConfig
from autocomp.search_spaces import make_space
from autocomp.storage.cache import default_root

OBJECT = "<object>"
"""Stands in a run's settings for what was given as a Python object."""


class SearchSetup:
    """A search with all its parts built, before and after there is a folder for it.

    Attributes:
        config: its settings.
        space: the action space.
        agent: the agent.
        network: the trained network.
        data: its data.
        problem: network, data and budgets.
        menu: the problem's menu in the space.
    """

    def __init__(
        self, config: SearchConfig, model: Any, data: Any, agent: Any, space: Any,
        budgets: tuple[Budget, ...],
    ) -> None:  # fmt: skip
        self.config = config
        # cheap parts first: a misspelt name must not wait for the data
        self.space = make_space(space)
        self.agent = _with_policy(agent, config.policy)
        self._check_warm_start()
        make_decomposition(config.decomposition)
        pipeline = Pipeline(
            find("compressor", config.pruner, COMPRESSORS, COMPRESSOR_GROUP)(),
            find("compressor", config.quantizer, COMPRESSORS, COMPRESSOR_GROUP)(),
        )
        _check_pipeline(pipeline, config)
        if config.threads:
            torch.set_num_threads(config.threads)
        usable_device(config.device)
        if isinstance(model, nn.Module):
            # the user's network is never written to, nor is a note put on it
            model = working_copy(model, torch.device("cpu"))
        self.network = build_model(model, config.weights or None, require_weights=True)
        self.data: DataSplits = load_data(data)
        self._note_source()
        self.problem = CompressionProblem(
            self.network,
            self.data,
            budgets,
            ProblemSettings(
                keep=config.keep, search_images=config.search_images,
                batch_size=config.batch_size, device=config.device, pipeline=pipeline,
                cache=_cache_folder(config.cache), unit_step=config.round_to,
                decomposition=config.decomposition,
            ),
        )  # fmt: skip
        self.menu = make_menu(self.problem, self.space)  # refuses a budget out of reach at once

    def check(self, run: Run) -> None:
        """Raises RunError if a run is of another network or other data than this job."""
        fingerprints = run.config()["fingerprints"]
        for name, value in self.fingerprints().items():
            if fingerprints.get(name) != value:
                raise RunError(
                    f"The run must be continued with its own {name}, but these differ from those "
                    f"of {str(run.path)!r}; give the same files, or start a new search."
                )

    def _check_warm_start(self) -> None:
        """Raises AgentError for an agent that was written before there were warm starts."""
        parameters = inspect.signature(self.agent.search).parameters
        takes = "starts" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if self.config.warm_start != "none" and not takes:
            raise AgentError(
                f"A warm start needs an agent whose search() takes `starts`, but "
                f"{type(self.agent).__name__}'s does not; set warm_start to none."
            )

    def _note_source(self) -> None:
        """Notes the network's class as its source if an instance of it computes the same.

        Equal shapes are not enough: an activation may be an argument of the class.
        """
        source = source_of(self.network)
        if noted_source(self.network) is not None or source is None:
            return
        again = build_architecture(source)
        again.load_state_dict(self.network.state_dict())
        images = self.data.example_inputs(min(16, len(self.data.calibration)))
        with torch.inference_mode(), evaluation_mode(self.network):
            try:
                same = torch.equal(again(images), self.network(images))
            except Exception:
                return  # the analysis says what is wrong with the network
        if same:
            note_source(self.network, source.name, source.options)

    def splits(self) -> dict[str, str]:
        """Returns what each split is; the test split is not loaded."""
        data = self.data
        return {
            "calibration": f"{data.calibration.name}, {len(data.calibration)} samples",
            "search": f"{data.search.name}, {len(data.search)} samples",
            "test": f"{data.test.name}, read once, after the plan is chosen",
        }

    def fingerprints(self) -> dict[str, str]:
        """Returns what identifies the network and the data."""
        return {
            "network": fingerprint(self.network),
            "data": self.data.calibration.fingerprint() + self.data.search.fingerprint(),
        }


def _with_policy(agent: Any, policy: str) -> Agent:
    """Returns the agent, which begins with a learned policy if one is given.

    Raises:
        AgentError: if it learns no policy.
    """
    made = make_agent(agent)
    if not policy:
        return made
    if not isinstance(made, ReinforcementAgent):
        raise AgentError(
            f"`policy` needs an agent that learns one (ddpg, td3, sac, ppo), but got "
            f"{type(made).__name__}; choose another agent, or leave out policy."
        )
    own = copy.copy(made)
    own.policy = str(policy_file(policy))
    return own


def _check_pipeline(pipeline: Pipeline, config: SearchConfig) -> None:
    if hasattr(pipeline.pruner, "quantize"):
        raise AutocompError(
            f"`pruner` must name a compressor that makes zeros, but {config.pruner!r} is a "
            "quantizer; see `autocomp compressors`."
        )
    if not hasattr(pipeline.quantizer, "quantize"):
        raise AutocompError(
            f"`quantizer` must name a compressor with quantize(), but {config.quantizer!r} has "
            "none; see `autocomp compressors`."
        )


def _cache_folder(given: str) -> Path | None:
    """Returns the folder of option tables that a setting names; None for "none"."""
    if given == "none":
        return None
    return Path(given) if given else default_root()
