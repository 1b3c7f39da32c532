"""What an Optuna study learned: which parameters matter, and what each of their values gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState

LEAST = 8
"""Trials without which importances mean nothing."""


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
        sampler: what proposed the trials ("TPE").
        trials: how many were completed.
        parameters: the most important first.
    """

    sampler: str
    trials: int
    parameters: tuple[Parameter, ...]


def study_picture(file: Path, sampler: str) -> StudyPicture:
    """Reads a study's journal.

    Args:
        file: the journal.
        sampler: what proposed the trials.

    Raises:
        KeyError: of Optuna, if the journal does not hold the study.
    """
    study = optuna.load_study(
        study_name="autocomp", storage=JournalStorage(JournalFileBackend(str(file)))
    )
    trials = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    scores = tuple(float(t.value or 0.0) for t in trials)
    names = list(trials[0].params) if trials else []
    importances = dict.fromkeys(names, 0.0)
    if len(trials) >= LEAST and len(set(scores)) > 1:
        importances |= get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    ranked = sorted(names, key=lambda name: -importances[name])
    return StudyPicture(
        sampler=sampler,
        trials=len(trials),
        parameters=tuple(
            Parameter(
                name, float(importances[name]), tuple(float(t.params[name]) for t in trials), scores
            )
            for name in ranked
        ),
    )
