"""A search with all its parts built, from what a user has named or given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autocomp.agents import Agent, make_agent
from autocomp.api.measured_time import with_measured_time
from autocomp.api.without_data import data_without_data, is_without_data
from autocomp.compression.low_rank import make_decomposition
from autocomp.compression.weights import make_pipeline
from autocomp.core.budget import Budget
from autocomp.core.fidelity import Fidelity
from autocomp.core.stage import OnStage, untold
from autocomp.costs import Latency
from autocomp.costs.latency.device_table import DeviceTable
from autocomp.data import DataSplits, load_data
from autocomp.errors import AutocompError, BudgetError, LayerError, RunError
from autocomp.models import build_architecture, build_model, note_source, noted_source, source_of
from autocomp.network.device import dtype_of, of_type, usable_device
from autocomp.network.faithful import agree, check_copy, outputs_of
from autocomp.network.fingerprint import fingerprint
from autocomp.network.working_copy import working_copy
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.runs.folder import Run
from autocomp.runs.settings import SearchConfig
from autocomp.search_spaces import FeasibleSpace, make_space
from autocomp.storage.cache import default_root
from autocomp.storage.paths import user_path
from autocomp.tasks import make_task
from autocomp.training import TrainingConfig

OBJECT = "<object>"
"""Stands in a run's settings for what was given as a Python object."""


@dataclass(frozen=True)
class SearchSetup:
    """A search with all its parts built, before and after there is a folder for it.

    Attributes:
        config: its settings.
        agent: the agent.
        network: the trained network; a copy of the user's.
        data: its data.
        problem: network, data and budgets.
        feasible: the action space under the problem's budgets.
    """

    config: SearchConfig
    agent: Agent
    network: nn.Module
    data: DataSplits
    problem: CompressionProblem
    feasible: FeasibleSpace

    @classmethod
    def build(
        cls, config: SearchConfig, model: Any, data: Any, agent: Any, space: Any,
        budgets: tuple[Budget, ...], on_stage: OnStage = untold, task: Any = None,
    ) -> SearchSetup:  # fmt: skip
        """Builds every part of a search.

        Args:
            config: the settings.
            model: a network, or what names one.
            data: data, or what names them.
            agent: an agent, or what names one.
            space: an action space, or what names one.
            budgets: what every plan must meet.
            on_stage: told how far the work before the first evaluation is.
            task: what the network is for, where it is an object.

        Raises:
            AutocompError: in one line, for anything wrong with the input.
        """
        # cheap parts first: a misspelt name must not wait for the data
        cache = _cache_folder(config.cache)
        made_space = make_space(space)
        made_agent = make_agent(agent)
        made_task = make_task(config.task if task is None else task)
        if config.policy:
            made_agent = made_agent.with_policy(config.policy)
        make_decomposition(config.decomposition)
        pipeline = make_pipeline(config.pruner, config.quantizer)
        usable_device(config.device)
        budgets = _on_device(budgets, config.device_table)
        given = model
        if isinstance(model, nn.Module):
            # the user's network is never written to, nor is a note put on it
            model = working_copy(model, torch.device("cpu"))
        if is_without_data(data):
            network = build_model(model, config.weights or None, require_weights=True)
            splits = data_without_data(data, network, on_stage)
        else:
            splits = load_data(data)
        if isinstance(given, nn.Module):
            few = splits.example_inputs(min(4, len(splits.calibration)))
            check_copy(given, model, of_type(few, dtype_of(model)))
        network = build_model(model, config.weights or None, require_weights=True)
        _note_source(network, splits)
        problem = CompressionProblem(
            network, splits, budgets,
            ProblemSettings(
                keep=config.keep, search_images=config.search_images,
                batch_size=config.batch_size, device=config.device, pipeline=pipeline,
                cache=cache, unit_step=config.round_to,
                decomposition=config.decomposition, task=made_task, on_stage=on_stage,
                tuning=TrainingConfig.of(config.tuning), screening=Fidelity.of(config.level),
            ),
        )  # fmt: skip
        feasible = FeasibleSpace.build(problem, made_space)  # refuses a budget out of reach at once
        feasible = with_measured_time(feasible, made_space, _search_key(config, network, budgets))
        return cls(config, made_agent, network, splits, problem, feasible)

    def check(self, run: Run) -> None:
        """Raises RunError if a run is of another network or other data than this search."""
        fingerprints = run.config()["fingerprints"]
        for name, value in self.fingerprints().items():
            if fingerprints.get(name) != value:
                raise RunError(
                    f"The run must be continued with its own {name}, but these differ from those "
                    f"of {str(run.path)!r}; give the same files, or start a new search."
                )

    def splits(self) -> dict[str, str]:
        """Returns what each split is; the test split is not loaded."""
        data = self.data
        return {
            "calibration": f"{data.calibration.name}, {len(data.calibration)} samples",
            "search": f"{data.search.name}, {len(data.search)} samples",
            "test": f"{data.test.name}, read once, after the plan is chosen",
        }

    def fingerprints(self) -> dict[str, str]:
        """Returns what identifies the network and the data, and a device's times."""
        found = {
            "network": fingerprint(self.network),
            "data": self.data.calibration.fingerprint() + self.data.search.fingerprint(),
        }
        latency = self.problem.costs.get("latency")
        if isinstance(latency, Latency) and isinstance(latency.table, DeviceTable):
            found["device table"] = latency.table.digest
        return found


def _note_source(network: nn.Module, data: DataSplits) -> None:
    """Notes the network's class as its source if an instance of it computes the same.

    Equal shapes are not enough: an activation may be an argument of the class.
    """
    source = source_of(network)
    if noted_source(network) is not None or source is None:
        return
    try:
        again = build_architecture(source)
    except AutocompError:  # a file names it in vain; the network itself is there
        return
    again.load_state_dict(network.state_dict())
    images = of_type(data.example_inputs(min(16, len(data.calibration))), dtype_of(network))
    try:
        same = agree(outputs_of(again.to(dtype_of(network)), images), outputs_of(network, images))
    except LayerError:  # the analysis says what is wrong with it
        return
    if same:
        note_source(network, source.name, source.options)


def _cache_folder(given: str) -> Path | None:
    """Returns the folder of tables of compressed layers that a setting names; None for "none"."""
    if given == "none":
        return None
    return user_path(given, "cache") if given else default_root()


def _search_key(config: SearchConfig, network: nn.Module, budgets: Iterable[Budget]) -> str:
    """Returns what a search's plans depend on, but for its agent."""
    told = (config.space, config.keep, config.round_to, config.decomposition, config.pruner,
            config.quantizer, config.data)  # fmt: skip
    return repr((fingerprint(network), [str(budget) for budget in budgets], told))


def _on_device(budgets: tuple[Budget, ...], table: str) -> tuple[Budget, ...]:
    """Returns the budgets, those of time by a device's table if there is one.

    Raises:
        BudgetError: if the table is none, or no budget asks for time.
    """
    if not table:
        return budgets
    times = DeviceTable(user_path(table, "device_table"))
    if not any(budget.cost == "latency" for budget in budgets):
        raise BudgetError(
            f"A device table is for latency budgets, but got {', '.join(map(str, budgets))} with "
            f"{table!r}; add latency=LIMIT, or leave the table out."
        )
    return tuple(
        replace(budget, factory=lambda store: Latency(store, table=times))
        if budget.cost == "latency"
        else budget
        for budget in budgets
    )
