"""AutoComp: searches how to compress a trained PyTorch network under a budget.

`search` runs the search, `load` gives back a compressed network. Everything is imported where it is
first used, so that `import autocomp` stays light.

Each request of the command line is a function here: `search`, `resume`, `report`, `evaluate`,
`export`, `measure`, `compare`, `finetune`, `quantize`, `train_policy`. The rest is what they speak
of.

What happens is logged under `logging.getLogger("autocomp")`, silent until a handler is set.
"""

from __future__ import annotations

import logging as _logging
from pathlib import Path as _Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocomp.api.compare import compare
    from autocomp.api.evaluate import evaluate
    from autocomp.api.export import export
    from autocomp.api.finetune import finetune
    from autocomp.api.measure import measure
    from autocomp.api.quantize import quantize
    from autocomp.api.report import report
    from autocomp.api.result import Result
    from autocomp.api.resume import resume
    from autocomp.api.search import search
    from autocomp.api.train_policy import TrainingNetwork, train_policy
    from autocomp.compression.loading import load
    from autocomp.compression.saving import save
    from autocomp.core.budget import Budget
    from autocomp.core.choice import Choice
    from autocomp.core.fidelity import Fidelity
    from autocomp.core.outcome import Outcome
    from autocomp.core.plan import Plan
    from autocomp.data.splits import DataSplits
    from autocomp.errors import AutocompError
    from autocomp.problem.problem import CompressionProblem
    from autocomp.training.trainable import freeze, trainable

__version__ = "0.4.0"
__all__ = [
    "AutocompError",
    "Budget",
    "Choice",
    "CompressionProblem",
    "DataSplits",
    "Fidelity",
    "Outcome",
    "Plan",
    "Result",
    "TrainingNetwork",
    "__version__",
    "compare",
    "evaluate",
    "export",
    "finetune",
    "freeze",
    "load",
    "measure",
    "quantize",
    "report",
    "resume",
    "save",
    "search",
    "train_policy",
    "trainable",
]

# In a checkout the folders envs/, agents/ and search_spaces/ stand beside this package.
if (_Path(__file__).parent.parent / "pyproject.toml").is_file():
    __path__.append(str(_Path(__file__).parent.parent))

_logging.getLogger(__name__).addHandler(_logging.NullHandler())

_LAZY = {
    "AutocompError": "autocomp.errors",
    "Budget": "autocomp.core.budget",
    "Choice": "autocomp.core.choice",
    "CompressionProblem": "autocomp.problem.problem",
    "DataSplits": "autocomp.data.splits",
    "Fidelity": "autocomp.core.fidelity",
    "Outcome": "autocomp.core.outcome",
    "Plan": "autocomp.core.plan",
    "Result": "autocomp.api.result",
    "TrainingNetwork": "autocomp.api.train_policy",
    "compare": "autocomp.api.compare",
    "evaluate": "autocomp.api.evaluate",
    "export": "autocomp.api.export",
    "finetune": "autocomp.api.finetune",
    "freeze": "autocomp.training.trainable",
    "load": "autocomp.compression.loading",
    "measure": "autocomp.api.measure",
    "quantize": "autocomp.api.quantize",
    "report": "autocomp.api.report",
    "resume": "autocomp.api.resume",
    "save": "autocomp.compression.saving",
    "search": "autocomp.api.search",
    "train_policy": "autocomp.api.train_policy",
    "trainable": "autocomp.training.trainable",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'autocomp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
