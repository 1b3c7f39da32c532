"""The tensorly library on numpy arrays, whatever backend the user's program has chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autocomp.errors import AutocompError
from autocomp.plugins.imports import optional_import


@contextmanager
def numpy_tensorly() -> Iterator[Any]:
    """Gives `tensorly.decomposition` with numpy below it; afterwards the old backend is back.

    Only this thread sees the change.

    Raises:
        AutocompError: if tensorly is not installed.
    """
    tensorly: Any = optional_import("tensorly", "tensor", AutocompError)
    methods: Any = optional_import("tensorly.decomposition", "tensor", AutocompError)
    before = tensorly.get_backend()
    if before == "numpy":
        yield methods
        return
    tensorly.set_backend("numpy", local_threadsafe=True)
    try:
        yield methods
    finally:
        tensorly.set_backend(before, local_threadsafe=True)
