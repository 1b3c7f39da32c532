"""What a page holds besides plots: text, figures in large print, tables, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Prose:
    """Paragraphs.

    Attributes:
        paragraphs: one text each.
        warning: whether the reader must not miss it.
    """

    paragraphs: tuple[str, ...]
    warning: bool = False


@dataclass(frozen=True)
class Card:
    """One number in large print.

    Attributes:
        label: what it is.
        value: the number with its unit.
        detail: what it is compared with; "" for nothing.
        accent: name of the colour of its edge.
    """

    label: str
    value: str
    detail: str = ""
    accent: str = "line"


@dataclass(frozen=True)
class Cards:
    """Numbers in large print, side by side."""

    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Table:
    """A table; it scrolls sideways by itself where it is wider than the page.

    Attributes:
        head: names of the columns.
        rows: texts.
        title: what it shows; "" for none.
        texts: how many leading columns hold texts; the others hold numbers and align to the right.
        folded: whether it is opened by a click on its title, which it then needs.
        half: whether two such blocks stand side by side where the page is wide.
    """

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    title: str = ""
    texts: int = 1
    folded: bool = False
    half: bool = False


@dataclass(frozen=True)
class Facts:
    """Terms and what they are.

    Attributes:
        facts: (term, text) in order.
        title: what they are about; "" for none.
        folded: whether they are opened by a click on the title, which they then need.
        half: whether two such blocks stand side by side where the page is wide.
    """

    facts: Sequence[tuple[str, str]]
    title: str = ""
    folded: bool = False
    half: bool = False


@dataclass(frozen=True)
class Code:
    """A text that is shown as it is, such as a command."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """An image with its caption.

    Attributes:
        png: base64-encoded PNG; "" shows the caption alone.
        title: the caption's first line.
        lines: (label, text, name of the label's colour).
    """

    png: str
    title: str
    lines: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Pictures:
    """Images side by side."""

    pictures: Sequence[Picture]
    title: str = ""
