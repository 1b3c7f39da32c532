"""A search in a run folder: from the first plan to the closing figures and the report."""

from __future__ import annotations

import logging
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from autocomp.agents import OnOutcome, SearchResult, SearchTask, make_agent
from autocomp.api.measured_time import timed
from autocomp.api.result import Result
from autocomp.api.setup import SearchSetup
from autocomp.artifacts.container import unpack
from autocomp.compression.loading import load
from autocomp.compression.noted_file import note_file, shapes_of
from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome, best_of
from autocomp.core.plan import Plan
from autocomp.costs import Latency
from autocomp.errors import AgentError, ArtifactError, AutocompError
from autocomp.inspection.inspect_run import inspect_run
from autocomp.inspection.record import RunRecord
from autocomp.models import noted_source
from autocomp.network.device import dtype_of, of_type
from autocomp.network.forward import forward
from autocomp.plugins.border import border
from autocomp.plugins.imports import describe
from autocomp.problem.pairs import Tested
from autocomp.problem.promotion import promote
from autocomp.problem.tuning import TrainingRequest
from autocomp.reports.files import check_libraries, write_report
from autocomp.runs.finetuning import train_in_run
from autocomp.runs.folder import Run
from autocomp.runs.summary import Gain, Measured, Training, summarise
from autocomp.runs.tensorboard import BOARD, TensorBoardWriter
from autocomp.training import TrainingConfig, TrainingPoint

_LOG = logging.getLogger(__name__)
_PACKAGES = (
    "autocomp", "torch", "gymnasium", "stable-baselines3", "optuna", "numpy", "constriction",
    "safetensors",
)  # fmt: skip


class Session:
    """One setup in one run folder.

    Args:
        setup: the search.
        run: its folder.
    """

    def __init__(self, setup: SearchSetup, run: Run) -> None:
        self.setup, self.run = setup, run
        self._resumed = False

    @classmethod
    def start(cls, setup: SearchSetup, out: Path | None, on_outcome: OnOutcome | None) -> Result:
        """Makes the run folder and searches; takes the folder away if nothing was evaluated."""
        source = noted_source(setup.network)
        name = source.name.rpartition(":")[2] if source else type(setup.network).__name__
        agent = setup.config.agent.partition(":")[0].strip("<>")
        run = Run.create(
            out,
            f"{name}-{agent}",
            {
                "settings": setup.config.to_json(),
                "fingerprints": setup.fingerprints(),
                "splits": setup.splits(),
                "command": sys.argv,
                "versions": _versions(),
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            },
        )
        with run.locked():  # a folder that another process holds is not taken away
            try:
                return cls(setup, run)._search(on_outcome)
            except Exception:  # whatever it was; it is raised again
                if run.is_empty():
                    run.discard()
                raise

    def resume(self, on_outcome: OnOutcome | None = None) -> Result:
        """Goes on in the folder."""
        self._resumed = True
        with self.run.locked():
            return self._search(on_outcome)

    def _search(self, on_outcome: OnOutcome | None) -> Result:
        """Searches; an interrupt still writes the report of what there is."""
        with self._reported_if_stopped(), self._resumable():
            return self._from_plans_to_report(on_outcome)

    def _resumable(self) -> AbstractContextManager[None]:
        """Says of a disk that fails that the run goes on from what it holds."""
        return border(
            f"The search in {str(self.run.path)!r}",
            f"free the disk or its rights, and go on with `autocomp resume {self.run.path}`",
        )

    def _from_plans_to_report(self, on_outcome: OnOutcome | None) -> Result:
        setup, run, start = self.setup, self.run, time.perf_counter()
        run.repair()
        board = self._board()
        recorded = run.outcomes()
        if any(o.fidelity is Fidelity.SCREEN and o.gap is None for o in recorded):
            setup.problem.without_gaps()  # one order for plans of before and after
        setup.problem.remember(recorded)
        known = {(o.plan.key, o.fidelity) for o in recorded}
        best: Outcome | None = best_of(o for o in recorded if o.fidelity is Fidelity.SCREEN)
        if best is not None:
            run.write_plan(best.plan)  # a kill may have come between the two

        def record(outcome: Outcome) -> None:
            nonlocal best
            if (outcome.plan.key, outcome.fidelity) not in known:
                known.add((outcome.plan.key, outcome.fidelity))
                run.append(outcome)
            if (
                outcome.fidelity is Fidelity.SCREEN
                and best_of([*filter(None, [best]), outcome]) != best
            ):
                best = outcome
                run.write_plan(outcome.plan)
            costs = ", ".join(f"{cost} {value:,}" for cost, value in outcome.costs.items())
            _LOG.info(
                "%s: %s %.4f, loss %.4f, %s", outcome.fidelity.value, outcome.metric.name,
                outcome.quality, outcome.loss, costs,
            )  # fmt: skip
            if board is not None:
                board.record(outcome)
            if on_outcome is not None:
                on_outcome(outcome)

        starts = self._starts()
        _LOG.info(
            "search in %s: %s, %d evaluations, %s", run.path, setup.config.agent,
            setup.config.evaluations, ", ".join(setup.config.budget),
        )  # fmt: skip
        found = setup.agent.search(
            SearchTask(
                setup.feasible, setup.config.evaluations, setup.config.seed, tuple(starts), record,
                folder=run.path,
                tensorboard=run.path / BOARD / "agent" if setup.config.tensorboard else None,
                resumed=self._resumed,
            )
        )  # fmt: skip
        if not isinstance(found, SearchResult):
            raise AgentError(
                f"An agent's search must return a SearchResult, but {setup.config.agent!r} "
                f"returned {found!r:.60}; return SearchResult(outcomes)."
            )
        finalists = self._finalists(found, starts, record)
        finalists += self._reconstructed(finalists, starts, record)
        finalists += self._tuned(finalists, record)
        if board is not None:
            board.close()
        earlier = sum(o.seconds for o in recorded if o.fidelity is Fidelity.SCREEN)
        seconds = time.perf_counter() - start + earlier
        return self._close(found, finalists, starts, seconds)

    def _starts(self) -> list[Plan]:
        """Returns the plans that the search starts from."""
        if self.setup.config.warm_start == "none":
            return []
        return [
            self.setup.feasible.plan(indices) for indices in self.setup.feasible.allocation.starts()
        ]

    def _board(self) -> TensorBoardWriter | None:
        """Returns what writes TensorBoard records; those of a run that is resumed are made anew."""
        if not self.setup.config.tensorboard:
            return None
        shutil.rmtree(self.run.path / BOARD, ignore_errors=True)
        return TensorBoardWriter(
            self.run.path / BOARD / "search", self.setup.problem.costs, self.setup.problem.limits
        )

    @contextmanager
    def _reported_if_stopped(self) -> Iterator[None]:
        """Writes the report of what there is when a person stops the search."""
        try:
            yield
        except KeyboardInterrupt:
            if self.setup.config.report != "none":
                self._tell(lambda: write_report(self.run))
            raise

    def _tell(self, report: Callable[[], object]) -> None:
        """Makes a report; one that fails is a warning, for the result lies in the folder."""
        try:
            report()
        except Exception as error:  # the search is done, whatever its page meets
            warnings.warn(
                f"The report of {str(self.run.path)!r} could not be written: {describe(error)}; "
                "`autocomp report` tries again.",
                RuntimeWarning,
                stacklevel=2,
            )

    def report(self, baselines: Sequence[str] = ()) -> Path:
        """Finds out about the run, and writes `inspection.json` and `report.html`.

        Args:
            baselines: agents to run on the same problem with the same count, where that was not
                done before.
        """
        baselines = (baselines,) if isinstance(baselines, str) else baselines
        check_libraries()  # before work that would be for nothing
        recorded = self.run.outcomes()
        self.setup.problem.remember(recorded)
        for name in baselines:
            if not self.run.has_baseline(name):
                config = self.setup.config
                task = SearchTask(self.setup.feasible, config.evaluations, config.seed)
                found = make_agent(name).search(task)
                self.run.write_baseline(name, found.outcomes)
        best = RunRecord.read(self.run.path).best
        if best is not None:
            inspect_run(self.setup.feasible, self.setup.agent, best, self.run.path).write(
                self.run.path
            )
        return write_report(self.run)

    @property
    def _screening(self) -> Fidelity:
        """As what the search judges plans."""
        return self.setup.problem.settings.screening

    def _finalists(
        self, found: SearchResult, starts: list[Plan], record: OnOutcome
    ) -> list[Outcome]:
        """Scores the best plans again on the whole search split, which screening may mis-rank.

        The starts are among them: no search ends below the plan that it started from. So is what
        the agent believes in.
        """
        feasible = [o for o in found.outcomes if o.within_budget]
        if not feasible:
            raise AutocompError(
                "The agent must evaluate a plan within budget, but did not; give it more "
                "evaluations or another agent."
            )
        places = max(1, self.setup.config.finalists)
        always = [*starts, *(plan for plan in found.finalists if plan not in starts)]
        level = max(self._screening, Fidelity.FULL)
        return promote(self.setup.problem, feasible, places, always, record, level)

    def _reconstructed(
        self, finalists: list[Outcome], starts: list[Plan], record: OnOutcome
    ) -> list[Outcome]:
        """Reconstructs the best plans for the inputs that their layers really get.

        The starts too, so that a search does not end below its start's own reconstruction.
        """
        wanted = self.setup.config.reconstructions
        if not wanted or self._screening is not Fidelity.SCREEN:
            return []  # the finalists are judged as the search has judged them
        ranked = sorted(finalists, key=lambda o: o.rank, reverse=True)
        plans = [o.plan for o in ranked[:wanted]]
        found = []
        for plan in dict.fromkeys([*plans, *starts]):
            found.append(self.setup.problem.evaluate(plan, Fidelity.RECONSTRUCTED))
            record(found[-1])
        return found

    def _tuned(self, finalists: list[Outcome], record: OnOutcome) -> list[Outcome]:
        """Judges the best plans after a short training, too."""
        if self._screening.trains:
            return []  # they are
        ranked = sorted(finalists, key=lambda o: o.rank, reverse=True)
        plans = list(dict.fromkeys(o.plan for o in ranked))[: self.setup.config.tuned]
        found = []
        for plan in plans:
            found.append(self.setup.problem.evaluate(plan, Fidelity.TUNED))
            record(found[-1])
        return found

    def _close(
        self, found: SearchResult, finalists: list[Outcome], starts: list[Plan], seconds: float
    ) -> Result:
        best = best_of(finalists)
        assert best is not None  # finalists are feasible
        model, data = self.setup.problem.compressed(best.plan, best.fidelity)
        note_file(model, unpack(data, shapes_of(model)))
        self.run.write_plan(best.plan)
        if found.save is not None:
            found.save(self.run.path)
        one_shot = model
        model, data, training, costs = self._finetuned(model, data, best)
        path = self.run.write_model(data)
        self._verify(path, model)
        start = best_of(o for o in finalists if o.plan in starts)
        tested = self.setup.problem.test_of(model, self._compared(best, one_shot, start))
        best = replace(best, costs={**best.costs, **costs})
        summary = summarise(
            self.setup.problem, best, len(data), tested, len(found.outcomes), seconds,
            self._measured(model, data), _gain(best, start, tested), training,
        )  # fmt: skip
        self.run.write_summary(summary.to_json())
        _LOG.info("plan chosen, file of %d bytes, in %.1f s: %s", len(data), seconds, path)
        if self.setup.config.report == "full":
            self._tell(self.report)
        elif self.setup.config.report == "plain":
            self._tell(lambda: write_report(self.run))
        return Result(best.plan, model, best, (*found.outcomes, *finalists), summary, self.run)

    def _finetuned(
        self, model: nn.Module, data: bytes, best: Outcome
    ) -> tuple[nn.Module, bytes, Training | None, dict[str, int]]:
        """Trains the chosen network where that is wanted; returns the better one of both."""
        text = self.setup.config.finetune
        if not text:
            if self.run.one_shot.exists():  # of a training whose file is written over now
                warnings.warn(
                    f"The run {str(self.run.path)!r} is finished again from its search alone: what "
                    "`autocomp finetune` has trained is written over; train it again.",
                    RuntimeWarning,
                    stacklevel=2,
                )
                self.run.forget_training()
                self.run.one_shot.unlink()
            return model, data, None, {}
        if not self._resumed:
            self.run.forget_training()
        self.run.write_one_shot(data)
        request = TrainingRequest(
            TrainingConfig.of(text), state=self.run.training_state, on_point=self._point
        )
        return train_in_run(self.setup.problem, self.run, model, data, best, request, text)

    def _point(self, point: TrainingPoint) -> None:
        """Keeps and tells a point of the training."""
        self.run.append_point(point)
        _LOG.info(
            "training: step %d of %d, loss %.4f, %d bytes", point.step, point.steps, point.loss,
            point.bytes,
        )  # fmt: skip

    def _compared(
        self, best: Outcome, network: nn.Module, start: Outcome | None
    ) -> tuple[nn.Module, nn.Module] | None:
        """Returns the network that was found, and that of the start; None if they are the same."""
        if start is None or start.plan == best.plan:
            return None
        return network, self.setup.problem.compressed(start.plan, start.fidelity)[0]

    def _measured(self, model: nn.Module, data: bytes) -> dict[str, Measured]:
        """Measures what the search only estimated."""
        latency = self.setup.problem.costs.get("latency")
        if "latency" not in self.setup.problem.limits:
            return {}
        if isinstance(latency, Latency) and latency.table.elsewhere:
            return {}  # that device is not here
        return {"latency": Measured(*timed(self.setup.problem, model, data))}

    def _verify(self, path: Path, model: nn.Module) -> None:
        """Reads the file back: it must be the network that was evaluated."""
        images = self.setup.data.example_inputs(min(16, len(self.setup.data.calibration)))
        images = of_type(images, dtype_of(model))
        again = load(path, model=self.setup.network).cpu()
        task = self.setup.problem.settings.task
        with torch.inference_mode():
            expected = task.outputs(forward(model, images), images)
            gap = float((task.outputs(forward(again, images), images) - expected).abs().max())
        if not gap <= 1e-5 * max(1.0, float(expected.abs().max())):
            raise ArtifactError(
                f"The file must give the evaluated outputs, but they differ by {gap:.3g}; "
                "report this defect."
            )


def _gain(best: Outcome, start: Outcome | None, tested: Tested) -> Gain | None:
    """Returns what a search has gained over the best plan that it started from, if it had any."""
    if start is None:
        return None
    found = tested.gain
    if found is None:
        return Gain(0.0, 0.0, 0.0, tested.compressed.n, own=True, split="test")
    return Gain(found.difference, found.low, found.high, found.n, split="test")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
