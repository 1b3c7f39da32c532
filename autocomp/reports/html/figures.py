"""Plots as plain data: traces and axes of plotly.js, which a page draws once they come into view.

Colours are named, never given: `colour("compressed")` stands for the page's CSS variable of that
name, which differs between light and dark. Texts of names go through `plain` or `wrapped`, because
plotly.js reads a subset of HTML.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

COLOURS = (
    "compressed", "dense", "solver", "other-1", "other-2", "other-3", "other-4", "other-5",
    "ink", "soft", "line", "grid", "track", "page", "raised",
)  # fmt: skip
"""Names that `colour` knows; the values are in `page_style.STYLE`."""

Trace: TypeAlias = Mapping[str, Any]
Mark: TypeAlias = Literal[
    "line", "dashed", "dotted", "dot", "ring", "square", "diamond", "cross", "bar"
]


def colour(name: str) -> str:
    """Returns what stands for a colour of the page in traces and layouts.

    It is replaced wherever the key that it belongs to ends with "color" or "colorscale".
    """
    if name not in COLOURS:
        raise ValueError(f"A colour must be one of {COLOURS}, but got {name!r}.")
    return f"var(--{name})"


def colour_scale(kind: Literal["sequential", "diverging"]) -> list[tuple[float, str]]:
    """Returns a `colorscale` of five steps, from few to much or from -1 over 0 to +1."""
    return [(step / 4, f"var(--{kind}-{step})") for step in range(5)]


def plain(text: str) -> str:
    """Returns a text such that plotly.js shows it literally."""
    return html.escape(text, quote=False)


def wrapped(text: str, width: int = 40) -> str:
    """Returns a whole text in lines of at most `width` characters, as plotly.js shows them.

    Lines end at spaces, or after dots, slashes, dashes and underscores where words are longer.
    """
    lines = []
    for word in textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False):
        line = ""
        for piece in re.findall(r"[^./_-]+[./_-]*|[./_-]+", word) if len(word) > width else [word]:
            if line and len(line) + len(piece) > width:
                lines.append(line)
                line = ""
            line += piece
            while len(line) > width:
                lines.append(line[:width])
                line = line[width:]
        lines.append(line)
    return "<br>".join(plain(line) for line in lines if line)


@dataclass(frozen=True)
class Key:
    """One entry of a plot's legend, which stands above it as text.

    Attributes:
        name: what is drawn so.
        colour: name of its colour.
        mark: how it is drawn.
    """

    name: str
    colour: str
    mark: Mark = "line"


@dataclass(frozen=True)
class Scale:
    """The legend of a heat map.

    Attributes:
        low, high: what its two ends mean.
        kind: its colours.
    """

    low: str
    high: str
    kind: Literal["sequential", "diverging"] = "sequential"


@dataclass(frozen=True)
class Figure:
    """A plot with axes of its own, as wide as the page.

    Attributes:
        title: what it shows; also its accessible name.
        traces: traces of plotly.js; legends are off, use `keys`.
        layout: layout of plotly.js; margins, fonts and grid colours are the page's.
        height: pixels.
        half: whether two such blocks stand side by side where the page is wide.
        note: how to read it, one sentence; "" for none.
        keys: the legend.
        scale: the legend of a heat map; None without one.
    """

    title: str
    traces: Sequence[Trace]
    layout: Mapping[str, Any] = field(default_factory=dict)
    height: int = 360
    half: bool = False
    note: str = ""
    keys: tuple[Key, ...] = ()
    scale: Scale | None = None


@dataclass(frozen=True)
class Panel:
    """One column of a `Rows` plot.

    Attributes:
        title: what its axis is, with the unit.
        traces: traces whose `y` counts rows from 0; bars are horizontal by themselves.
        axis: the x axis of plotly.js; give `tickvals` with `ticktext` for categories (raw texts).
        least: pixels that it needs beside another panel.
    """

    title: str
    traces: Sequence[Trace]
    axis: Mapping[str, Any] = field(default_factory=dict)
    least: int = 84


@dataclass(frozen=True)
class Rows:
    """A plot with a row per name, which grows with their number; names are never cut.

    Panels stand side by side where the page is wide enough; else one of them is shown at a time,
    and the reader selects which.

    Attributes:
        title: what it shows; also its accessible name.
        labels: the rows' names as they are, the uppermost first.
        panels: at least one column.
        half: whether two such blocks stand side by side where the page is wide.
        note: how to read it, one sentence; "" for none.
        keys: the legend.
        scale: the legend of a heat map; None without one.
    """

    title: str
    labels: Sequence[str]
    panels: Sequence[Panel]
    half: bool = False
    note: str = ""
    keys: tuple[Key, ...] = ()
    scale: Scale | None = None


@dataclass(frozen=True)
class Gallery:
    """Several plots of one kind, of which the reader selects one.

    Attributes:
        label: what is selected ("Layer").
        figures: (name, plot) in order; the first, or the one at `first`, is shown at the start.
        first: place of the plot shown at the start.
        half: whether two such blocks stand side by side where the page is wide.
    """

    label: str
    figures: Sequence[tuple[str, Figure | Rows]]
    first: int = 0
    half: bool = False
