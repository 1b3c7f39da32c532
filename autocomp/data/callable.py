"""A user's own data: a function in a module of theirs, named as `package.module:attribute`."""

from __future__ import annotations

from collections.abc import Iterable

from autocomp.data.splits import DataSplits, as_splits
from autocomp.errors import DataError
from autocomp.plugins.imports import call_user, import_attribute


def from_callable(spec: str, known: Iterable[str] = ()) -> DataSplits:
    """Imports what `spec` names, calls it without arguments, and takes the result as splits.

    Modules in the working directory are found. An attribute that is no callable is taken as it is.

    Args:
        spec: `package.module:attribute`; what it returns must be what `as_splits` takes.
        known: names of data sets that could have been meant, for the suggestion.

    Raises:
        DataError: if it does not import, raises, or returns no splits.
    """
    found = import_attribute(spec, DataError, known)
    result = call_user(spec, found, {}, DataError) if callable(found) else found
    return as_splits(result, name=spec)
