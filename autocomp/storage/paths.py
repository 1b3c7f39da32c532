"""Paths that a user writes."""

from __future__ import annotations

import os
from pathlib import Path

from autocomp.errors import AutocompError


def user_path(
    given: str | os.PathLike[str], what: str, error: type[AutocompError] = AutocompError
) -> Path:
    """Returns a path with `~` put in its place.

    Args:
        given: as the user wrote it.
        what: what it is, for the message: "out".
        error: the class of the error raised.

    Raises:
        AutocompError: of class `error`, if it is empty, longer than any path, or of a user that
            there is not.
    """
    text = os.fspath(given) if isinstance(given, (str, bytes, os.PathLike)) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text or len(text) > 4096:
        shown = text if isinstance(text, str) and len(text) < 80 else f"{given!r:.60}"
        raise error(
            f"`{what}` must name a path of 1 to 4096 characters, but got {shown!r}; leave it out "
            "or name one."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise error(
            f"`{what}` must be of a user that this machine has, but got {text!r:.80}; write the "
            "path in full."
        ) from None
