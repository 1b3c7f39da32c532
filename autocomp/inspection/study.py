"""What an Optuna study learned: which parameters matter, and what each of their values gave."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """One parameter of a study.

    Attributes:
        name: its name ("layer1.0.conv1[0]").
        importance: its share of the importance of all, in [0, 1] (PED-ANOVA: Watanabe et al. 2023,
            arXiv:2304.10255).
        values: its value in each trial.
        scores: the objective of each trial.
    """

    name: str
    importance: float
    values: tuple[float, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class StudyPicture:
    """A study.

    Attributes:
        sampler: what proposed the trials ("TPESampler").
        trials: how many were completed.
        parameters: the most important first.
    """

    sampler: str
    trials: int
    parameters: tuple[Parameter, ...]
