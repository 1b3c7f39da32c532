"""A search with all its parts: from the first plan to the closing figures."""

from __future__ import annotations

import copy
import inspect
import platform
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autocomp.agents import Agent, OnOutcome, SearchResult, make_agent
from autocomp.agents.optuna_agent import OptunaAgent
from autocomp.apply import working_copy
from autocomp.artifacts.model_file import load
from autocomp.budget import Budget
from autocomp.compressors import COMPRESSORS, Pipeline
from autocomp.compressors import GROUP as COMPRESSOR_GROUP
from autocomp.config import SearchConfig
from autocomp.data import DataSplits, load_data
from autocomp.decomposition import make_decomposition
from autocomp.envs import make_menu
from autocomp.errors import AgentError, ArtifactError, AutocompError, RunError
from autocomp.evaluate import dtype_of, usable_device
from autocomp.export.timing import measured_latency
from autocomp.fingerprint import fingerprint
from autocomp.models import (
    build_architecture,
    build_model,
    note_source,
    noted_source,
    source_of,
)
from autocomp.modes import evaluation_mode
from autocomp.outcome import Outcome, best_of
from autocomp.plan import Plan
from autocomp.problem import CompressionProblem, ProblemSettings
from autocomp.promotion import promote
from autocomp.registry import find
from autocomp.report.summary import Summary, summarise
from autocomp.runs import Run
from autocomp.search_spaces import make_space
from autocomp.tables import default_root

OBJECT = "<object>"
"""Stands in a run's settings for what was given as a Python object."""
_PACKAGES = (
    "autocomp", "torch", "gymnasium", "stable-baselines3", "optuna", "numpy", "constriction",
    "safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a search hands back.

    Attributes:
        plan: the chosen plan.
        model: the compressed network, in evaluation mode.
        best: the plan's outcome on the whole search split.
        outcomes: every evaluated plan, in order, then the finalists on the whole split.
        summary: the closing figures.
        run: the run folder.
    """

    plan: Plan
    model: nn.Module
    best: Outcome
    outcomes: tuple[Outcome, ...]
    summary: Summary
    run: Run


class Job:
    """A search with all its parts built, before and after there is a folder for it."""

    def __init__(
        self, config: SearchConfig, model: Any, data: Any, agent: Any, space: Any,
        budgets: tuple[Budget, ...],
    ) -> None:  # fmt: skip
        self.config = config
        # cheap parts first: a misspelt name must not wait for the data
        self.space = make_space(space)
        self.agent = make_agent(agent)
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

    def start(self, out: Path | None, on_outcome: OnOutcome | None) -> Result:
        """Makes the run folder and searches; takes the folder away if nothing was evaluated."""
        source = noted_source(self.network)
        name = source.name.rpartition(":")[2] if source else type(self.network).__name__
        agent = self.config.agent.partition(":")[0].strip("<>")
        run = Run.create(
            out,
            f"{name}-{agent}",
            {
                "settings": self.config.to_json(),
                "fingerprints": self._fingerprints(),
                "command": sys.argv,
                "versions": _versions(),
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            },
        )
        try:
            return self._search(run, on_outcome)
        except Exception:
            if not run.outcomes():
                shutil.rmtree(run.path)
            raise

    def finish(
        self, run: Run, fingerprints: dict[str, str], on_outcome: OnOutcome | None
    ) -> Result:
        """Continues in an existing folder."""
        for name, value in self._fingerprints().items():
            if fingerprints.get(name) != value:
                raise RunError(
                    f"The run must be continued with its own {name}, but these differ from those "
                    f"of {str(run.path)!r}; give the same files, or start a new search."
                )
        return self._search(run, on_outcome)

    def _search(self, run: Run, on_outcome: OnOutcome | None) -> Result:
        start = time.perf_counter()
        with ExitStack() as stack:
            stack.enter_context(run.locked())
            run.repair()
            recorded = run.outcomes()
            self.problem.remember(recorded)
            known = {(o.plan.key, o.fidelity) for o in recorded}
            best: Outcome | None = best_of(o for o in recorded if o.fidelity == "F1")

            def record(outcome: Outcome) -> None:
                nonlocal best
                if (outcome.plan.key, outcome.fidelity) not in known:
                    known.add((outcome.plan.key, outcome.fidelity))
                    run.append(outcome)
                if outcome.fidelity == "F1" and best_of([*filter(None, [best]), outcome]) != best:
                    best = outcome
                    run.write_plan(outcome.plan)
                if on_outcome is not None:
                    on_outcome(outcome)

            starts = self._starts()
            found = self._agent_for(run).search(
                self.problem, self.space, n_evaluations=self.config.evaluations,
                seed=self.config.seed, on_outcome=record, **({"starts": starts} if starts else {}),
            )  # fmt: skip
            finalists = self._finalists(found, starts, record)
            finalists += self._reconstructed(finalists, starts, record)
            earlier = sum(o.seconds for o in recorded if o.fidelity == "F1")
            return self._close(run, found, finalists, time.perf_counter() - start + earlier)

    def _starts(self) -> list[Plan]:
        """Returns the plans that the search starts from."""
        if self.config.warm_start == "none":
            return []
        return [self.menu.plan(self.menu.solver.plan)]

    def _check_warm_start(self) -> None:
        """Raises AgentError for an agent that was written before there were warm starts."""
        parameters = inspect.signature(self.agent.search).parameters
        takes = "starts" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if self.config.warm_start != "none" and not takes:
            raise AgentError(
                f"A warm start needs an agent whose search() takes `starts`, but "
                f"{type(self.agent).__name__}'s does not; set warm_start to none."
            )

    def _agent_for(self, run: Run) -> Agent:
        """Returns the agent, with its study in the run folder if it keeps one."""
        if not isinstance(self.agent, OptunaAgent) or self.agent.storage:
            return self.agent
        agent = copy.copy(self.agent)
        file = run.path / "agent.study.log"
        file.unlink(missing_ok=True)  # a resumed search replays its trials from the start
        agent.storage = str(file)
        return agent

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

    def _finalists(
        self, found: SearchResult, starts: list[Plan], record: OnOutcome
    ) -> list[Outcome]:
        """Scores the best plans again on the whole search split, which screening may mis-rank.

        The starts are among them: no search ends below the plan that it started from.
        """
        feasible = [o for o in found.outcomes if o.within_budget]
        if not feasible:
            raise AutocompError(
                "The agent must evaluate a plan within budget, but did not; give it more "
                "evaluations or another agent."
            )
        places = max(1, self.config.finalists)
        return promote(self.problem, feasible, places, starts, record)

    def _reconstructed(
        self, finalists: list[Outcome], starts: list[Plan], record: OnOutcome
    ) -> list[Outcome]:
        """Reconstructs the best plans for the inputs that their layers really get.

        The starts too, so that a search does not end below its start's own reconstruction.
        """
        if not self.config.reconstructions:
            return []
        ranked = sorted(finalists, key=lambda o: o.rank, reverse=True)
        plans = [o.plan for o in ranked[: self.config.reconstructions]]
        found = []
        for plan in dict.fromkeys([*plans, *starts]):
            found.append(self.problem.evaluate(plan, "F2S"))
            record(found[-1])
        return found

    def _close(
        self, run: Run, found: SearchResult, finalists: list[Outcome], seconds: float
    ) -> Result:
        best = best_of(finalists)
        assert best is not None  # finalists are feasible
        model, data = self.problem.compressed(best.plan, best.fidelity)
        path = run.write_model(data)
        self._verify(path, model)
        run.write_plan(best.plan)
        if found.save is not None:
            found.save(run.path)
        summary = summarise(
            self.problem, best, len(data), self.problem.test(best.plan, best.fidelity),
            len(found.outcomes), seconds, self._measured(model, data),
        )  # fmt: skip
        run.write_summary(summary.to_json())
        return Result(best.plan, model, best, (*found.outcomes, *finalists), summary, run)

    def _measured(self, model: nn.Module, data: bytes) -> dict[str, tuple[int, int]]:
        """Measures what the search only estimated."""
        if "latency" not in self.problem.limits:
            return {}
        example = self.data.example_inputs(1)
        pair = measured_latency(self.problem.store.model.cpu(), model, data, example)
        return {"latency": pair}

    def _verify(self, path: Path, model: nn.Module) -> None:
        """Reads the file back: it must be the network that was evaluated."""
        images = self.data.example_inputs(min(16, len(self.data.calibration)))
        if images.is_floating_point():
            images = images.to(dtype_of(model))
        again = load(path, model=self.network).cpu()
        with torch.inference_mode():
            gap = float((again(images) - model(images)).abs().max())
        if not gap <= 1e-5:
            raise ArtifactError(
                f"The file must give the evaluated logits, but they differ by {gap:.3g}; "
                "report this defect."
            )

    def _fingerprints(self) -> dict[str, str]:
        return {
            "network": fingerprint(self.network),
            "data": self.data.calibration.fingerprint() + self.data.search.fingerprint(),
        }


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


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
