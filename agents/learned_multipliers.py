"""What a search has learned of the layers' estimated losses: a file that another may begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autocomp.allocation.pareto import Floats
from autocomp.errors import AgentError
from autocomp.storage.files import write_json
from autocomp.storage.json_files import is_flat, read_json
from autocomp.storage.paths import user_path

FILE = "agent.posterior.json"
"""The file's name in a run folder."""
_FORMAT = 1
_RIDGE = 1.0
"""Penalty of the regression from layers' features to log theta, in units of a layer."""
_WIDEST = 3.0
"""Largest |log theta| that travels to another network."""


@dataclass(frozen=True)
class Coefficients:
    """What each layer's estimated losses are multiplied by, in units of the prior's.

    A choice of estimated loss L counts as (theta + kappa ln(L / L(start))) L.

    Attributes:
        theta: `(n_layers,)`: 1 where the estimate is right.
        kappa: `(n_layers,)`: positive where strong compression hurts more than is estimated.
    """

    theta: Floats
    kappa: Floats


@dataclass(frozen=True)
class LearnedMultipliers:
    """Posterior means of a search, with what is needed to carry them elsewhere.

    Attributes:
        layers: names of the layers.
        mean: theta and kappa, see `Coefficients`.
        deviation: their standard deviations.
        at_start: `(n_layers,)`: estimated loss of each layer's choice in the plan that kappa is
            relative to, in the divergence's unit.
        features: `(n_layers, n_features)`: size-free numbers that describe a layer.
        evaluations: how many plans it was learned from.
    """

    layers: tuple[str, ...]
    mean: Coefficients
    deviation: Coefficients
    at_start: Floats
    features: Floats
    evaluations: int

    def write(self, folder: Path) -> Path:
        """Writes the file into a run folder and returns its path."""
        write_json(
            folder / FILE,
            {
                "format": _FORMAT,
                "evaluations": self.evaluations,
                "layers": list(self.layers),
                "theta": self.mean.theta.tolist(),
                "kappa": self.mean.kappa.tolist(),
                "theta_deviation": self.deviation.theta.tolist(),
                "kappa_deviation": self.deviation.kappa.tolist(),
                "at_start": self.at_start.tolist(),
                "features": self.features.tolist(),
            },
        )
        return folder / FILE

    @classmethod
    def read(cls, path: str | Path) -> LearnedMultipliers:
        """Reads the file that a run folder, or a path, names; runs no code.

        Raises:
            AgentError: if there is none, or it is damaged.
        """
        given = user_path(path, "policy", AgentError)
        file = given / FILE if given.is_dir() else given
        if not file.is_file():
            raise AgentError(
                f"`policy` must name a run of the posterior agent, or its {FILE}, but "
                f"{str(path)!r} is neither; name another run."
            )
        try:
            values = read_json(file)
            if not is_flat(values, 4) or values["format"] != _FORMAT:
                raise ValueError("format")
            return cls._of(values)
        except (
            OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError,
        ) as error:  # fmt: skip
            raise AgentError(
                f"`policy` must name multipliers that a run has learned, but {str(file)!r} cannot "
                f"be read ({error}); name another run."
            ) from None

    @classmethod
    def of_run(cls, folder: Path) -> LearnedMultipliers | None:
        """Returns what a search has left in its folder; None if there is none.

        Raises:
            AgentError: if it is damaged.
        """
        return cls.read(folder) if (folder / FILE).exists() else None

    def for_layers(
        self, layers: tuple[str, ...], at_start: Floats, features: Floats
    ) -> Coefficients:
        """Returns what is to be expected of other layers.

        Of the same network the coefficients are the same, with kappa put in terms of the other
        plan: theta + kappa ln(L / a) = (theta + kappa ln(b / a)) + kappa ln(L / b). Of another one,
        log theta is regressed on the layers' features (ridge), and kappa is the mean.

        Args:
            layers: names of its layers.
            at_start: estimated losses in the plan that kappa is to be relative to.
            features: of its layers.

        Raises:
            AgentError: if the features are of another kind.
        """
        if layers == self.layers:
            ratio = np.maximum(at_start, 1e-12) / np.maximum(self.at_start, 1e-12)
            shift = self.mean.kappa * np.clip(np.log(ratio), -_WIDEST, _WIDEST)
            return Coefficients(np.maximum(self.mean.theta + shift, 0.05), self.mean.kappa)
        if features.shape[1] != self.features.shape[1]:
            raise AgentError(
                f"The multipliers must be of layers that are described by {features.shape[1]} "
                f"numbers, but theirs are by {self.features.shape[1]}; learn them anew."
            )
        logs = np.log(np.maximum(self.mean.theta, 0.05))
        center, offset = self.features.mean(0), logs.mean()
        x = self.features - center
        weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ (logs - offset))
        found = np.exp(np.clip(offset + (features - center) @ weights, -_WIDEST, _WIDEST))
        return Coefficients(found, np.full(len(found), self.mean.kappa.mean()))

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> LearnedMultipliers:
        layers = tuple(values["layers"])
        if not layers or not all(isinstance(name, str) for name in layers):
            raise ValueError("layers")
        vectors = []
        for name in ("theta", "kappa", "theta_deviation", "kappa_deviation", "at_start"):
            found = np.array(values[name], np.float64)
            if found.shape != (len(layers),) or not np.isfinite(found).all():
                raise ValueError(name)
            if name.endswith("_deviation") and not (found > 0).all():
                raise ValueError(name)
            vectors.append(found)
        features = np.array(values["features"], np.float64)
        if features.ndim != 2 or len(features) != len(layers) or not np.isfinite(features).all():
            raise ValueError("features")
        theta, kappa, theta_deviation, kappa_deviation, at_start = vectors
        return cls(
            layers, Coefficients(theta, kappa), Coefficients(theta_deviation, kappa_deviation),
            at_start, features, int(values["evaluations"]),
        )  # fmt: skip
