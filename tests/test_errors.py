"""Messages: one line, bounded, and harmless in a terminal."""

from __future__ import annotations

import pytest

from autocomp.errors import AutocompError, LayerError, unknown


@pytest.mark.parametrize("mark", ["\n", "\r", "\x1b[2J", "\u2028", "\x00", "\t", "\x85"])
def test_a_message_is_one_line_that_moves_no_cursor(mark: str) -> None:
    text = str(LayerError(f"a{mark}b"))
    assert text.isprintable() and text.startswith("a") and text.endswith("b")


def test_a_message_is_cut_in_the_middle() -> None:
    text = str(AutocompError(unknown("layer", "x" * 5000, ["a"])))
    assert len(text) <= 1000 and text.startswith("There is no layer named") and " ... " in text
    assert text.endswith("Known: a.")
    assert str(AutocompError("y" * 1000)) == "y" * 1000
