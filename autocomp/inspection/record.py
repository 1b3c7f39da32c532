"""What a run folder holds, read at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocomp.core.fidelity import Fidelity
from autocomp.core.metric import ACCURACY, Metric
from autocomp.core.outcome import Outcome, best_of
from autocomp.inspection.findings import Findings
from autocomp.runs.folder import Run
from autocomp.runs.summary import Summary
from autocomp.training import TrainingPoint


@dataclass(frozen=True)
class RunRecord:
    """A run as it lies on disk, complete or not.

    Attributes:
        name: the folder's name.
        config: `config.json`: settings, versions, command, fingerprints, splits.
        outcomes: every evaluation, in order; fidelity "F1" during the search, then finalists.
        baselines: agent -> its outcomes at F1 on the same problem with the same count.
        summary: the closing figures; None while the run is not complete.
        findings: what was found out about it; None if nobody looked yet.
        notes: what a reader should know about the record itself, one sentence each.
        training: the curve of a training at the end, if there was one.
    """

    name: str
    config: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    baselines: Mapping[str, tuple[Outcome, ...]]
    summary: Summary | None
    findings: Findings | None
    notes: tuple[str, ...] = ()
    training: tuple[TrainingPoint, ...] = ()

    @classmethod
    def read(cls, folder: str | Path) -> RunRecord:
        """Reads a run folder; nothing is written.

        Raises:
            RunError: if the folder is no run, of another version, or damaged.
        """
        run = Run.open(folder)
        values = run.summary()
        notes = []
        if run.is_cut_off():
            notes.append(
                "The last line of outcomes.jsonl was cut off; everything before it is shown."
            )
        if values is None:
            notes.append("The run was stopped early; `autocomp resume` continues it.")
        return cls(
            name=run.path.resolve().name,
            config=run.config(),
            outcomes=tuple(run.outcomes()),
            baselines=run.baselines(),
            summary=None if values is None else Summary.from_json(values),
            findings=Findings.read(run.path),
            notes=tuple(notes),
            training=tuple(run.training_points()),
        )

    @property
    def settings(self) -> Mapping[str, Any]:
        """The search's settings, as `SearchConfig.to_json` gives them."""
        settings: Mapping[str, Any] = self.config["settings"]
        return settings

    @property
    def metric(self) -> Metric:
        """What the run's qualities are figures of."""
        return self.outcomes[0].metric if self.outcomes else ACCURACY

    @property
    def screened(self) -> tuple[Outcome, ...]:
        """The outcomes of the search itself (F1), in order."""
        return tuple(o for o in self.outcomes if o.fidelity is Fidelity.SCREEN)

    @property
    def best(self) -> Outcome | None:
        """The outcome of the plan that was handed back, or of the best so far."""
        finalists = [o for o in self.outcomes if o.fidelity is not Fidelity.SCREEN]
        return best_of(finalists) or best_of(self.screened)
