"""Tasks: what a network is for, one a file.

To add one, subclass `Task` and pass an instance, or register its class in `TASKS`, or under the
entry-point group `autocomp.tasks` of another package, to name it on the command line.
"""

from __future__ import annotations

from autocomp.core.metric import Metric
from autocomp.core.score import Score
from autocomp.errors import DataError
from autocomp.plugins.registry import Factory, find
from autocomp.plugins.spec import construct, parse_spec
from autocomp.tasks.base import Task, check_task
from autocomp.tasks.classification import Classification
from autocomp.tasks.embedding import Embedding
from autocomp.tasks.language_model import LanguageModel
from autocomp.tasks.measure import FunctionMeasure, Measure, SumMeasure
from autocomp.tasks.multilabel import Multilabel
from autocomp.tasks.paired import Paired
from autocomp.tasks.regression import Regression
from autocomp.tasks.segmentation import Segmentation

TASKS: dict[str, Factory] = {
    "classification": Classification,
    "regression": Regression,
    "segmentation": Segmentation,
    "multilabel": Multilabel,
    "embedding": Embedding,
    "language-model": LanguageModel,
}
GROUP = "autocomp.tasks"

__all__ = [
    "GROUP",
    "TASKS",
    "Classification",
    "Embedding",
    "FunctionMeasure",
    "LanguageModel",
    "Measure",
    "Metric",
    "Multilabel",
    "Paired",
    "Regression",
    "Score",
    "Segmentation",
    "SumMeasure",
    "Task",
    "check_task",
    "make_task",
]


def make_task(spec: str | Task) -> Task:
    """Returns the task that `spec` stands for.

    Args:
        spec: a task, or its name and options ("regression:metric=rmse").

    Raises:
        UnknownNameError: if nothing is registered so.
        DataError: if what is made is no task, or an option is wrong.
    """
    if not isinstance(spec, str):
        return _checked(spec)
    name, options = parse_spec(spec)
    factory = find("task", name, TASKS, GROUP)
    if "output" in options:
        options["output"] = str(options["output"])
    return _checked(construct("task", name, factory, options, DataError))


def _checked(made: object) -> Task:
    if isinstance(made, Task):
        return made
    if isinstance(made, type) and issubclass(made, Task):
        raise DataError(
            f"A task must be an object, but got the class {made.__name__}; give {made.__name__}()."
        )
    raise DataError(
        f"A task must be a subclass of autocomp.tasks.Task, or a name of `autocomp tasks`, but got "
        f"{made!r:.60}; inherit from Task."
    )
