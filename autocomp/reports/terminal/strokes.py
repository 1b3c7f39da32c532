"""Block characters on a console, and their likeness where it knows only ASCII."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

_ASCII = str.maketrans("▁▂▃▄▅▆▇█▏▎▍▌▋▊▉", "_.,-=+*#.::--==")


@dataclass(frozen=True)
class Strokes:
    """A sparkline or a bar, and words beside it; drawn in one line.

    Attributes:
        blocks: the block characters.
        words: shown after them, literally.
        width: the blocks are padded to so many characters.
    """

    blocks: str
    words: str = ""
    width: int = 0

    @property
    def text(self) -> str:
        """What is drawn on a console that knows block characters."""
        return f"{self.blocks.ljust(self.width)} {self.words}" if self.words else self.blocks

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.translate(_ASCII) if options.ascii_only else self.text
        yield Text(text, overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, Text(self.text.replace(" ", "x")))
