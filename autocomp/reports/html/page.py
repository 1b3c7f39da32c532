"""One self-contained HTML page of sections: prose, tables, and plots that are drawn when seen."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from autocomp.errors import RunError
from autocomp.plugins.imports import optional_import
from autocomp.reports.html.blocks import Cards, Code, Facts, Pictures, Prose, Table
from autocomp.reports.html.embedded import embedded_json
from autocomp.reports.html.figures import Figure, Gallery, Rows
from autocomp.reports.html.page_script import SCRIPT
from autocomp.reports.html.page_style import STYLE
from autocomp.reports.html.template import PAGE

Block: TypeAlias = Prose | Cards | Table | Facts | Code | Pictures | Figure | Rows | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the page with its own heading and place in the table of contents.

    Attributes:
        key: its anchor, letters and dashes, unique on the page.
        title: its heading.
        lead: what to read from it, one or two sentences; "" for none.
        blocks: what it holds, in order.
    """

    key: str
    title: str
    lead: str
    blocks: tuple[Block, ...] = ()


def render_page(
    title: str, lead: str, sections: Sequence[Section], notes: Sequence[str] = ()
) -> str:
    """Returns a whole HTML document, to be written as UTF-8; opening it needs no network.

    plotly.js, the style, and all data are part of the document, and a content security policy
    forbids everything else: no request leaves the page, and no script runs but the page's own. All
    texts are escaped, so that names may hold anything. The page follows the reader's light or dark
    colours, fits widths from 400 pixels up, and draws a plot once it comes near the view (all of
    them on printing, or by `window.__drawAll()`, which returns a promise). A drawn plot's element
    (class "plot") has the attribute `data-drawn="true"`.

    Example:
        >>> bars = Figure("Accuracy", [{"type": "bar", "x": ["a"], "y": [0.9]}])
        >>> page = render_page("Runs", "Two seeds.", [Section("all", "All", "", (bars,))])

    Args:
        title: the heading and the document's title.
        lead: a sentence under the heading; "" for none.
        sections: the sections in order.
        notes: what the reader must know first, one sentence each.
    """
    from jinja2 import Environment

    plots: list[Any] = []
    placed = [
        (section, [_placed(block, plots) for block in section.blocks]) for section in sections
    ]
    library = _plotly() if plots else ""
    scripts = [script for script in (library, SCRIPT) if script]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(PAGE).render(
        title=title,
        lead=lead,
        sections=placed,
        notes=notes,
        style=_inline(STYLE),
        data=_inline(embedded_json(plots)),
        scripts=[_inline(script) for script in scripts],
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
    )


def _placed(block: Block, plots: list[Any]) -> tuple[str, Block, int]:
    """Returns the block's kind, the block, and the place of its data; appends the data."""
    kind = type(block).__name__.lower()
    if isinstance(block, Figure | Rows):
        plots.append([block])
    elif isinstance(block, Gallery):
        plots.append([figure for _, figure in block.figures])
    else:
        return kind, block, -1
    return kind, block, len(plots) - 1


def _inline(text: str) -> Any:
    """Marks a text of this package, or JSON without "<", as safe inside a tag."""
    from markupsafe import Markup

    return Markup(text)


def _plotly() -> str:
    library: str = optional_import("plotly.offline", "report", RunError).get_plotlyjs()
    return library


def _digest(script: str) -> str:
    return b64encode(hashlib.sha256(script.encode()).digest()).decode()
