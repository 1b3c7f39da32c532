"""Every error that a user can cause: one tree, one line each (rule, value, remedy)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 1000


class AutocompError(Exception):
    """Base of all errors raised for bad input; the CLI prints its message and exits with 2.

    Args:
        message: rule, value and remedy. It is kept in one line of at most 1,000 characters, the
            beginning and the end of a longer one, whatever a value's text holds; what would move a
            terminal's cursor becomes a space.
    """

    def __init__(self, message: str) -> None:
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST - 305]} ... {message[-300:]}"
        if not message.isprintable():
            message = "".join(c if c.isprintable() else " " for c in message)
        super().__init__(message)


class ChoiceError(AutocompError):
    """A `Choice` holds a value outside its range, or a layer cannot take it."""


class PlanError(AutocompError):
    """A `Plan` does not fit the network: unknown, missing or doubled layers."""


class LayerError(AutocompError):
    """The network cannot be analysed, or a layer is named that it does not have."""


class ModelError(AutocompError):
    """The network or its weights cannot be built, loaded or trusted."""


class DataError(AutocompError):
    """The data are empty, malformed, or do not fit the network."""


class BudgetError(AutocompError):
    """A budget cannot be read or cannot be met in the chosen search space."""


class SpaceError(AutocompError):
    """A search space got an option or an action that it does not have."""


class AgentError(AutocompError):
    """An agent cannot work with the search space or the options that it was given."""


class ArtifactError(AutocompError):
    """A compressed file is damaged, truncated, or of another version."""


class TrainingError(AutocompError):
    """Training cannot begin with what it was given, or has met numbers that are not finite."""


class RunError(AutocompError):
    """A run folder is missing, damaged, or in use."""


class UnknownNameError(AutocompError):
    """A name stands for nothing that is registered."""


class EvaluationsSpent(AutocompError):
    """The evaluation count that the search was given is used up; raised to end a search."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Returns the one-line message for an unknown name, with a suggestion where one is near."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"There is no {kind} named {name!r}. {hint}Known: {', '.join(known) or 'none'}."
