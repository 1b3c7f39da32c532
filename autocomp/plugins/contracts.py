"""Whether an object has all that its contract asks for, said in one line where it has not."""

from __future__ import annotations

import inspect
from typing import Any

from autocomp.errors import AutocompError

_MISSING = object()


def check_contract(kind: str, thing: Any, contract: type, error: type[AutocompError]) -> None:
    """Checks that `thing` is an object with every member of a protocol.

    Args:
        kind: what it should be, in the words of an error message ("search space").
        thing: what was given.
        contract: the protocol.
        error: the class of the error.

    Raises:
        AutocompError: of class `error`, for a class, or an object that lacks members; it names
            them.
    """
    article = "An" if kind[0] in "aeiou" else "A"
    if isinstance(thing, type):
        raise error(
            f"{article} {kind} must be an object, but got the class {thing.__name__}; give "
            f"{thing.__name__}()."
        )
    # static, so that no property is computed for it
    lacks = [
        n for n in _members(contract) if inspect.getattr_static(thing, n, _MISSING) is _MISSING
    ]
    if lacks:
        # the face of the package, where the protocol is imported from
        face = contract.__module__.rpartition(".")[0]
        raise error(
            f"{article} {kind} must have every member of {face}.{contract.__name__}, but "
            f"{type(thing).__name__} lacks {', '.join(lacks)}; inherit from that class, and define "
            "what has no default."
        )


def _members(contract: type) -> list[str]:
    """Returns the public members of a protocol and of those that it extends, by name."""
    bases = [b for b in contract.__mro__ if getattr(b, "_is_protocol", False)]
    found = {n for b in bases for n in (*vars(b), *inspect.get_annotations(b))}
    return sorted(n for n in found if not n.startswith("_"))
