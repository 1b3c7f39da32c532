"""How thoroughly a plan is judged."""

from __future__ import annotations

from enum import StrEnum

from autocomp.errors import AutocompError, unknown


class Fidelity(StrEnum):
    """A level at which a plan is judged; the value is what run folders hold.

    | level           | in files | what                                                          |
    |-----------------|----------|---------------------------------------------------------------|
    | `ESTIMATE`      | F0       | sum of per-layer losses from tables; no forward pass          |
    | `SCREEN`        | F1       | recovered weights stitched in, scored on some search images   |
    | `FULL`          | F2       | the same on the whole search split                            |
    | `RECONSTRUCTED` | F2S      | recovered front to back for the inputs that layers really get |
    | `TUNED`         | F3       | the whole split, after a short training                       |

    >>> Fidelity.of("screen") is Fidelity.of("F1") is Fidelity.SCREEN
    True
    """

    ESTIMATE = "F0"
    SCREEN = "F1"
    FULL = "F2"
    RECONSTRUCTED = "F2S"
    TUNED = "F3"

    @classmethod
    def of(cls, level: str | Fidelity) -> Fidelity:
        """Returns the level that a text names, by its value or its name in any case.

        Raises:
            AutocompError: if there is no such level.
        """
        for known in cls:
            if level == known.value or str(level).upper() == known.name:
                return known
        raise AutocompError(unknown("fidelity", str(level), [f.value for f in cls]))

    @classmethod
    def _missing_(cls, value: object) -> Fidelity | None:
        """Takes a name in any case, too: `Fidelity("full")`."""
        return next((known for known in cls if str(value).upper() == known.name), None)

    @property
    def images(self) -> Fidelity:
        """The level whose images it is scored on: `SCREEN` (a fixed subset) or `FULL` (all)."""
        return Fidelity.FULL if self in (Fidelity.RECONSTRUCTED, Fidelity.TUNED) else self

    @property
    def evaluates(self) -> bool:
        """Whether the network is run on search images."""
        return self is not Fidelity.ESTIMATE

    @property
    def reconstructs(self) -> bool:
        """Whether layers are recovered once more, front to back."""
        return self is Fidelity.RECONSTRUCTED

    @property
    def trains(self) -> bool:
        """Whether the network is trained."""
        return self is Fidelity.TUNED
