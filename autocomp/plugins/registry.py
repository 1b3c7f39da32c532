"""Finding an implementation by name: the literal dict of a folder, then Python entry points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from autocomp.errors import AutocompError, UnknownNameError, unknown

Factory = Callable[..., Any]


def plugins(group: str) -> dict[str, EntryPoint]:
    """Returns the entry points of `group` (for instance `autocomp.agents`) by name, unloaded."""
    return {point.name: point for point in entry_points(group=group)}


def names(builtin: Mapping[str, Factory], group: str) -> list[str]:
    """Returns every name that `find` knows: the built-in ones first, then the plug-ins."""
    return [*builtin, *(name for name in sorted(plugins(group)) if name not in builtin)]


def find(kind: str, name: str, builtin: Mapping[str, Factory], group: str) -> Factory:
    """Returns the factory registered under `name`.

    Args:
        kind: what is looked for, in the words of an error message ("agent").
        name: the registered name.
        builtin: the folder's own dict; it wins over a plug-in of the same name.
        group: the entry-point group that other packages register in.

    Raises:
        UnknownNameError: if nothing has that name; the nearest names are suggested.
        AutocompError: if the plug-in of that name fails to import.
    """
    if name in builtin:
        return builtin[name]
    found = plugins(group).get(name)
    if found is None:
        raise UnknownNameError(unknown(kind, name, names(builtin, group)))
    try:
        factory: Factory = found.load()
    except Exception as error:  # another package's code
        raise AutocompError(
            f"The {kind} plug-in {name!r} ({found.value}) does not import: "
            f"{type(error).__name__}: {error}. Repair or uninstall the package that offers it."
        ) from error
    return factory
