"""Places in a buffer: those of values that are still read never overlap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autocomp.exporters.c_buffer import Buffer


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=40), st.data())
def test_what_is_held_is_apart(steps: list[tuple[int, bool]], data: st.DataObject) -> None:
    buffer = Buffer()
    held: dict[str, range] = {}
    most = 0
    for i, (length, back) in enumerate(steps):
        at = buffer.take(str(i), length)
        place = range(at, at + length)
        assert place.stop <= buffer.length
        assert all(place.stop <= x.start or x.stop <= place.start for x in held.values())
        held[str(i)] = place
        most = max(most, sum(map(len, held.values())))
        if back:
            name = data.draw(st.sampled_from(sorted(held)))
            buffer.give_back(name)
            del held[name]
    assert most <= buffer.length <= sum(length for length, _ in steps)


def test_gaps_are_joined_and_used_again() -> None:
    buffer = Buffer()
    places = [buffer.take(name, 4) for name in "abc"]
    assert places == [0, 4, 8]
    for name in "ab":
        buffer.give_back(name)
    assert buffer.take("d", 6) == 0 and buffer.length == 12
    buffer.give_back("c")
    assert buffer.take("e", 9) == 6 and buffer.length == 15  # what was free at the end grows
    buffer.give_back("never taken")
