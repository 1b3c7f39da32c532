"""Places of values in one buffer, used again when a value is no longer read."""

from __future__ import annotations


class Buffer:
    """Hands out stretches of a buffer that grows as it must.

    Attributes:
        length: numbers that it has to hold.
    """

    def __init__(self) -> None:
        self.length = 0
        self._free: list[tuple[int, int]] = []  # where a gap begins, and its length; in order
        self._held: dict[str, tuple[int, int]] = {}

    def take(self, name: str, length: int) -> int:
        """Returns where a value of so many numbers lies: in the first gap that is long enough."""
        for i, (at, free) in enumerate(self._free):
            if free >= length:
                self._free[i : i + 1] = [(at + length, free - length)] if free > length else []
                break
        else:
            at = self.length
            if self._free and sum(self._free[-1]) == self.length:  # a gap at the end grows
                at = self._free.pop()[0]
            self.length = at + length
        self._held[name] = (at, length)
        return at

    def give_back(self, name: str) -> None:
        """Lets a value's place be used again; nothing for a name that has none."""
        held = self._held.pop(name, None)
        if held is None:
            return
        joined: list[tuple[int, int]] = []
        for at, length in sorted([*self._free, held]):
            if joined and sum(joined[-1]) == at:
                joined[-1] = (joined[-1][0], joined[-1][1] + length)
            else:
                joined.append((at, length))
        self._free = joined
