"""The tensorly library on numpy arrays, whatever backend the user's program has chosen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autocomp.errors import AutocompError
from autocomp.imports import optional_import


@contextmanager
def numpy_tensorly() -> Iterator[Any]:
    """Gives `tensorly.decomposition` with numpy below it; afterwards the old backend is back.

    Only this thread sees the change. Its notes on ranks above a mode's size are silenced: for a
    canonical polyadic decomposition such ranks are normal.

    Raises:
        AutocompError: if tensorly is not installed.
    """
    tensorly: Any = optional_import("tensorly", "all", AutocompError)
    methods: Any = optional_import("tensorly.decomposition", "all", AutocompError)
    before = tensorly.get_backend()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Trying to compute SVD with n_eigenvecs", UserWarning)
        if before != "numpy":
            tensorly.set_backend("numpy", local_threadsafe=True)
        try:
            yield methods
        finally:
            if before != "numpy":
                tensorly.set_backend(before, local_threadsafe=True)
