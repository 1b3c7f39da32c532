"""Data sets by name, each in the splits calibration, search, test (and train).

Another package adds one through the entry-point group `autocomp.data`: a function without
arguments, or with one for a path, that returns whatever `as_splits` takes.
"""

from __future__ import annotations

import inspect
from typing import Any

from autocomp.data.callable import from_callable
from autocomp.data.digits import digits
from autocomp.data.hub import datasets_library, torchvision_cifar10, torchvision_cifar100
from autocomp.data.parquet import cifar10
from autocomp.data.split import Split
from autocomp.data.splits import DataSplits, as_splits
from autocomp.errors import DataError, UnknownNameError, unknown
from autocomp.plugins.imports import call_user, is_import_spec
from autocomp.plugins.registry import Factory, find, names

__all__ = ["DATA", "GROUP", "DataSplits", "Split", "as_splits", "from_callable", "load_data"]

GROUP = "autocomp.data"
DATA: dict[str, Factory] = {
    "digits": digits,
    "cifar10": cifar10,
    "datasets": datasets_library,
    "torchvision-cifar10": torchvision_cifar10,
    "torchvision-cifar100": torchvision_cifar100,
}


def load_data(spec: object) -> DataSplits:
    """Returns the data that `spec` stands for; no test split is read.

    Args:
        spec: a name (`"digits"`), a name and a path (`"cifar10:PATH"`, the path may hold colons),
            a function of the user's (`"my_package.my_data:splits"`), or any object that
            `as_splits` takes.

    Raises:
        UnknownNameError: if nothing has that name; the nearest one is suggested.
        DataError: if the path is missing, or the source cannot be loaded.
    """
    if not isinstance(spec, str):
        return as_splits(spec)
    name, colon, path = spec.partition(":")
    if name == "none":
        raise DataError(
            "Data can be left out of a search alone, which makes inputs out of its network; give "
            "the data here."
        )
    known = names(DATA, GROUP)
    if name in known:
        return _from_source(name, path if colon else None)
    if is_import_spec(spec):
        return from_callable(spec, known)
    raise UnknownNameError(
        f"{unknown('data set', name, known)} Your own: `my_package.my_module:my_function`."
    )


def _from_source(name: str, path: str | None) -> DataSplits:
    source = find("data set", name, DATA, GROUP)
    takes, needs = _takes_path(source)
    if needs and not path:
        raise DataError(f"The data set {name!r} needs a path, but got none. Write {name}:PATH.")
    if path is not None and not takes:
        raise DataError(f"The data set {name!r} takes no path, but got {path!r}. Write {name}.")
    arguments: tuple[Any, ...] = (path,) if path else ()
    if name in DATA:
        return as_splits(source(*arguments), name)
    return as_splits(call_user(name, lambda: source(*arguments), {}, DataError), name)


def _takes_path(source: Factory) -> tuple[bool, bool]:
    """Returns whether `source` takes a positional argument, and whether it needs one."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [p for p in inspect.signature(source).parameters.values() if p.kind in kinds]
    return bool(positional), any(p.default is inspect.Parameter.empty for p in positional)
