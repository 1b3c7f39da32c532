"""Everything that is known of a run beyond its outcomes; kept as `inspection.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cattrs

from autocomp.core.metric import ACCURACY, Metric
from autocomp.errors import RunError
from autocomp.inspection.ablation import LayerAblation
from autocomp.inspection.curve import ErrorCurve
from autocomp.inspection.layer_multiplier import LayerMultiplier
from autocomp.inspection.policy import PolicyPicture
from autocomp.inspection.predictions import Predictions
from autocomp.inspection.price import Price
from autocomp.inspection.study import StudyPicture
from autocomp.runs.layer_result import LayerResult
from autocomp.storage.files import write_json
from autocomp.storage.json_files import read_json
from autocomp.storage.sealed import seal

FILE = "inspection.json"
FORMAT = 3
_RENAMED = {"departures": "ablations"}
"""What format 1 called otherwise."""


@dataclass(frozen=True)
class Findings:
    """What was found out about a run's best plan, and about the agent that found it.

    Attributes:
        plan: the plan's key (`Plan.key`) that all of this is about.
        fidelity: the level at which that plan was judged.
        cost: name of the first budget's cost; curves and prices are in its unit.
        unit: that unit.
        layers: the plan, layer by layer.
        curves: error curves, layer by layer; () where the space has none.
        prices: marginal prices, layer by layer; () likewise.
        ablations: where the plan departs from the exact solver's.
        predictions: single predictions; None if they were not looked at.
        policy: the learned policy; None without one.
        study: the Optuna study; None without one.
        multipliers: by how much the layers' estimates were found to be wrong; () if that was not
            learned.
        left_out: section -> why it is missing.
        metric: what the run's qualities are figures of.
    """

    plan: str
    fidelity: str
    cost: str
    unit: str
    layers: tuple[LayerResult, ...]
    curves: tuple[ErrorCurve, ...] = ()
    prices: tuple[Price, ...] = ()
    ablations: tuple[LayerAblation, ...] = ()
    predictions: Predictions | None = None
    policy: PolicyPicture | None = None
    study: StudyPicture | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    metric: Metric = ACCURACY
    multipliers: tuple[LayerMultiplier, ...] = ()

    def write(self, folder: Path) -> Path:
        """Writes `inspection.json` into a run folder and returns its path."""
        values = self.to_json()
        write_json(folder / FILE, {"format": FORMAT, "sha256": _seal(values), **values})
        return folder / FILE

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object."""
        values: dict[str, Any] = cattrs.unstructure(self)
        return values

    @classmethod
    def read(cls, folder: Path) -> Findings | None:
        """Reads `inspection.json`; None if the folder has none, or one of another format.

        Raises:
            RunError: if it is damaged.
        """
        file = folder / FILE
        if not file.exists():
            return None
        try:
            values = read_json(file)
            written = values.pop("format", None)
            sealed = values.pop("sha256", None)  # those of before 0.5 have none
            if sealed is not None and sealed != _seal(values):
                raise ValueError("its checksum differs")
            if written == 1:
                values = _renamed(values)
            elif written not in (2, FORMAT):
                return None
            if written < 3:
                for row in values.get("ablations", []):
                    row["quality"] = row.pop("accuracy")
            return cattrs.structure(values, cls)
        except (
            OSError, ValueError, TypeError, KeyError, AttributeError, cattrs.BaseValidationError,
            RecursionError,
        ) as error:  # fmt: skip
            raise RunError(
                f"{str(file)!r} must hold what was found out about the run, but is damaged "
                f"({type(error).__name__}); delete it and make the report again."
            ) from None


def _seal(values: dict[str, Any]) -> str:
    return seal(json.dumps(values, sort_keys=True).encode())


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    """Returns an object of format 1 under the names of today."""
    renamed = {_RENAMED.get(name, name): value for name, value in values.items()}
    left_out = renamed.get("left_out", {})
    renamed["left_out"] = {_RENAMED.get(name, name): why for name, why in left_out.items()}
    return renamed
