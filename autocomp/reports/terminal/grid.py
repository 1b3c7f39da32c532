"""Tables of cells that may hold anything: names are shown literally and whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from textwrap import wrap

from rich import box
from rich.table import Table
from rich.text import Text

from autocomp.reports.terminal.strokes import Strokes

Cell = str | Strokes


def grid(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    numbers: Collection[str] = (),
) -> Table:
    """Returns a table in the style of the closing tables.

    Where the console is narrow, words and ranges of numbers are folded; numbers and strokes are
    not, but their headings are broken at spaces.

    Args:
        title: stands above it, taken literally.
        columns: their headings.
        rows: a cell for every column.
        numbers: headings of the columns that are aligned to the right.
    """
    cells = [list(row) for row in rows]
    table = _table(title)
    for place, name in enumerate(columns):
        column = [row[place] for row in cells]
        texts = [cell for cell in column if isinstance(cell, str)]
        whole = len(texts) < len(column) or (name in numbers and not any(" " in t for t in texts))
        table.add_column(
            Text(_heading(name, texts) if whole and texts else name),
            justify="right" if name in numbers else "left",
            no_wrap=whole,
            overflow="fold",
        )
    for row in cells:
        table.add_row(*map(_shown, row))
    return table


def pairs(title: str, values: Iterable[tuple[str, Cell]]) -> Table:
    """Returns a table of names and their values, without headings."""
    table = _table(title)
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values:
        table.add_row(Text(name), _shown(value))
    return table


def shortened(shown: int, of: int, what: str) -> str:
    """Returns what a title adds about rows that it leaves out: "" or " (8 of 20 layers)"."""
    return f" ({shown} of {of} {what})" if shown < of else ""


def _heading(name: str, cells: Sequence[str]) -> str:
    """Returns a heading in lines as long as the longest cell, as its longest word, or as 10."""
    room = max(10, *map(len, (*cells, *name.split())))
    return "\n".join(wrap(name, room, break_long_words=False, break_on_hyphens=False))


def _table(title: str) -> Table:
    heading = Text(title, style="bold", overflow="fold")
    return Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left")


def _shown(cell: Cell) -> Text | Strokes:
    return Text(cell, overflow="fold") if isinstance(cell, str) else cell
