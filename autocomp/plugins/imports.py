"""Importing what a user names: `package.module:attribute`, and libraries that are optional."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from autocomp.errors import AutocompError

_SPEC = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_import_spec(spec: str) -> bool:
    """Says whether `spec` reads `package.module:attribute` (both sides may hold dots)."""
    return _SPEC.fullmatch(spec) is not None


def import_attribute(spec: str, error: type[AutocompError], known: Iterable[str] = ()) -> Any:
    """Returns the attribute that `spec` names; modules in the working directory are found too.

    Args:
        spec: `package.module:attribute`.
        error: the class of the errors raised.
        known: names that could have been meant instead of a module, for the suggestion.

    Raises:
        AutocompError: of class `error`, if the syntax is wrong, the module does not exist or does
            not import, or it has no such attribute.
    """
    if not is_import_spec(spec):
        raise error(f"An import must read `package.module:attribute`, but got {spec!r}.")
    module_name, attribute = spec.split(":")
    with working_directory_importable():
        try:
            found: Any = importlib.import_module(module_name)
        except (Exception, SystemExit) as problem:  # the user's own code
            if _is_missing(problem, module_name):
                raise error(
                    f"`{spec}`: there is no module {module_name!r}.{_near(module_name, known)} "
                    "Write it as in `import ...`, and start where it can be imported."
                ) from problem
            raise error(
                f"`{spec}`: importing {module_name!r} raised {describe(problem)}. "
                "Repair that module first."
            ) from problem
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = _near(part, [name for name in dir(found) if not name.startswith("_")])
            raise error(
                f"`{spec}`: {module_name!r} has no attribute {attribute!r}.{near} "
                "Name one that it defines."
            )
        found = getattr(found, part)
    return found


def call_user(
    spec: str, function: Callable[..., Any], options: dict[str, Any], error: type[AutocompError]
) -> Any:
    """Returns `function(**options)`; whatever it raises becomes one line that names `spec`.

    Raises:
        AutocompError: what the function raised of that kind, or of class `error` for the rest.
    """
    with working_directory_importable():
        try:
            return function(**options)
        except AutocompError:
            raise
        except (Exception, SystemExit) as problem:  # the user's own code
            raise error(
                f"`{spec}` raised {describe(problem)}. Repair it, or call it by hand to see where."
            ) from problem


def optional_import(name: str, extra: str, error: type[AutocompError]) -> ModuleType:
    """Returns the module `name` of an optional library.

    Args:
        name: the module, for instance `pyarrow.parquet`.
        extra: the extra of this package that installs it.
        error: the class of the error raised.

    Raises:
        AutocompError: of class `error`, if it is not installed or dies on import (a torchvision
            that does not match torch does, with a RuntimeError).
    """
    library = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise error(
            f"{library} is needed for this, but it does not import ({describe(problem)}): "
            f"pip install 'autocomp[{extra}]'."
        ) from problem
    except Exception as problem:  # a library that does not fit another dies in any way
        raise error(
            f"{library} is installed but does not import ({describe(problem)}): reinstall a "
            f"version that fits, with pip install 'autocomp[{extra}]'."
        ) from problem


def describe(problem: BaseException) -> str:
    """Returns class and message of an exception in one line of at most 300 characters."""
    text = " ".join(str(problem).split()).rstrip(".")
    text = text if len(text) <= 300 else text[:297] + "..."
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


@contextlib.contextmanager
def working_directory_importable() -> Iterator[None]:
    """Puts the working directory first on `sys.path` while the block runs, unless it is there."""
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    add = here not in sys.path and "" not in sys.path
    if add:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if add and here in sys.path:
            sys.path.remove(here)


def _is_missing(problem: BaseException, module_name: str) -> bool:
    """Says whether `problem` is about `module_name` or a parent, not about an import within it."""
    if not isinstance(problem, ModuleNotFoundError) or problem.name is None:
        return False
    return f"{module_name}.".startswith(f"{problem.name}.")


def _near(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {found[0]!r}?" if found else ""
