"""AutoComp: searches how to compress a trained PyTorch network under a budget.

`search` runs the search, `load` gives back a compressed network. Both import what they need when
they are called, so that `import autocomp` stays light.
"""

from __future__ import annotations

from pathlib import Path as _Path
from typing import TYPE_CHECKING, Any

__version__ = "0.4.0"
__all__ = ["Budget", "Choice", "Plan", "__version__", "load", "resume", "search"]

# In a checkout the folders envs/, agents/ and search_spaces/ stand beside this package.
if (_Path(__file__).parent.parent / "pyproject.toml").is_file():
    __path__.append(str(_Path(__file__).parent.parent))

if TYPE_CHECKING:
    from autocomp.api.resume import resume
    from autocomp.api.search import search
    from autocomp.compression.loading import load
    from autocomp.core.budget import Budget
    from autocomp.core.choice import Choice
    from autocomp.core.plan import Plan

_LAZY = {
    "search": "autocomp.api.search",
    "resume": "autocomp.api.resume",
    "load": "autocomp.compression.loading",
    "Budget": "autocomp.core.budget",
    "Choice": "autocomp.core.choice",
    "Plan": "autocomp.core.plan",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'autocomp' has no attribute {name!r}")
