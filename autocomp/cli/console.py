"""Where commands print."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.text import Text


def show(parts: Iterable[RenderableType], least: int = 120) -> None:
    """Prints tables and texts; a pipe gets `least` columns, so that no column is cut."""
    console = Console()
    wide = console if console.is_terminal else Console(width=max(console.width, least))
    for part in parts:
        if isinstance(part, (str, Text)):
            say(str(part))
        else:
            wide.print(part)


def say(*lines: str) -> None:
    """Prints lines as they are: no markup, nothing wrapped or coloured."""
    console = Console()
    for line in lines:
        console.print(line, markup=False, soft_wrap=True, highlight=False)
