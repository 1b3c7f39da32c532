"""The command line: parses, calls `autocomp.api`, prints."""

from __future__ import annotations

from autocomp.cli.main import main

__all__ = ["main"]
