"""Several runs side by side."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from autocomp.errors import RunError
from autocomp.inspection.comparison import Comparison, compare_runs, read_runs
from autocomp.plugins.border import border
from autocomp.reports.comparison_page import render_comparison
from autocomp.storage.files import write_bytes
from autocomp.storage.paths import user_path


@border("autocomp.compare")
def compare(runs: Iterable[str | Path], *, out: str | Path | None = None) -> Comparison:
    """Compares runs of the same network and data: medians of groups, paired differences over seeds.

    Args:
        runs: run folders.
        out: HTML page to write; None for none.

    Raises:
        RunError: if a folder is no run, the runs do not compare, or the page cannot be written.
    """
    records = read_runs([runs] if isinstance(runs, (str, Path)) else runs)
    found = compare_runs(records)
    if out is not None:
        page = user_path(out, "out", RunError)
        try:
            write_bytes(page, render_comparison(records).encode())
        except OSError as error:
            raise RunError(
                f"The page must be writable, but {str(out)!r} is not ({error.strerror}); choose "
                "another file."
            ) from None
    return found
