"""Options that are numbers: within bounds that the message names, whoever gives them."""

from __future__ import annotations

import math
from typing import Any

from autocomp.errors import AutocompError


def check_whole(error: type[AutocompError], **options: tuple[Any, int, int]) -> None:
    """Checks options that are whole numbers.

    Args:
        error: the class of the error raised.
        **options: name -> (value, least, largest).

    Raises:
        AutocompError: of class `error`, naming the option, its bounds and its value.
    """
    for name, (value, least, largest) in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= largest:
            raise error(
                f"`{least} <= {name} <= {largest}` must hold for a whole number, but got "
                f"{name}={value!r:.60}; change it."
            )


def check_real(error: type[AutocompError], **options: tuple[Any, float, float]) -> None:
    """Checks options that are numbers, as `check_whole` does; none is infinite or NaN."""
    for name, (value, least, largest) in options.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not least <= value <= largest:
            raise error(
                f"`{least:g} <= {name} <= {largest:g}` must hold, but got {name}={value!r:.60}; "
                "change it."
            )


def check_flag(error: type[AutocompError], **options: Any) -> None:
    """Checks options that are true or false, as `check_whole` does."""
    for name, value in options.items():
        if not isinstance(value, bool):
            raise error(f"`{name}` must be true or false, but got {name}={value!r:.60}; change it.")
