"""The public border: what the machine raises, by kind, in one line; user input has its own errors.

The operating system, memory and the interpreter's stack fail anywhere. Requests of this package
catch them here, once, and say what was being done; nothing inside does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from autocomp.errors import AutocompError
from autocomp.plugins.imports import describe

_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "cannot allocate memory")


@contextmanager
def border(doing: str, remedy: str = "free some, or choose another place") -> Iterator[None]:
    """Turns errors of the machine into an AutocompError; use it as a decorator, too.

    Args:
        doing: the request, as "autocomp.search".
        remedy: what to do about a file or a disk that failed.
    """
    try:
        yield
    except AutocompError:
        raise
    except OSError as error:
        raise AutocompError(
            f"{doing} needs a file or a disk that {_failed(error)}; {remedy}."
        ) from error
    except MemoryError as error:
        raise AutocompError(_memory(doing, error)) from error
    except RecursionError as error:
        raise AutocompError(
            f"{doing} can follow a thousand levels, but what it was given is nested deeper; give "
            "a file, plan or network that is flatter."
        ) from error
    except RuntimeError as error:
        if any(text in str(error).lower() for text in _MEMORY):
            raise AutocompError(_memory(doing, error)) from error
        raise


def _failed(error: OSError) -> str:
    """Returns which file failed, and why, as far as the system says."""
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    why = error.strerror or (os.strerror(error.errno) if error.errno else describe(error))
    return f"failed: {' and '.join(repr(f) for f in files)} ({why})" if files else f"failed ({why})"


def _memory(doing: str, error: BaseException) -> str:
    return (
        f"{doing} must fit into memory, but does not ({describe(error)}); take smaller batches, "
        "inputs or networks."
    )
