"""The closing table, for a notebook."""

from __future__ import annotations

from html import escape

from autocomp.runs.closing import HEAD, closing_rows, gain_sentence
from autocomp.runs.summary import Summary


def closing_html(summary: Summary) -> str:
    """Returns the closing table as HTML, for a notebook."""
    head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in closing_rows(summary)
    )
    sentence = gain_sentence(summary)
    below = f"<p>{escape(sentence)}</p>" if sentence else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
