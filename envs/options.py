"""What `reset(options=...)` may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autocomp.errors import AgentError, unknown


def check_options(options: Mapping[str, Any] | None, known: Mapping[str, type]) -> None:
    """Raises AgentError for an option that the environment does not have, or of another type."""
    for name, value in (options or {}).items():
        if name not in known:
            raise AgentError(unknown("option of reset", name, known))
        kind = known[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise AgentError(f"`{name}` must be of type {kind.__name__}, but got {value!r}.")
