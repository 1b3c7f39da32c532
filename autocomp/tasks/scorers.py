"""scikit-learn's scorers as measures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from autocomp.tasks.measure import FunctionMeasure, Measure

_BOUNDED = ("accuracy", "f1", "precision", "recall", "jaccard", "roc_auc", "r2", "average")
_SHARES = ("accuracy", "f1", "precision", "recall", "jaccard")


def scorer_of(function: Callable[..., Any]) -> str:
    """Returns the scorer that a function of scikit-learn's metrics belongs to; "" for none."""
    try:
        from sklearn.metrics import get_scorer, get_scorer_names
    except ImportError:
        return ""
    for name in get_scorer_names():
        scorer: Any = get_scorer(name)
        if scorer._score_func is function and not scorer._kwargs:
            return str(name)
    return ""


def scorer_measure(
    name: str, decisions: Callable[[Tensor], Tensor], probabilities: Callable[[Tensor], Tensor]
) -> Measure | None:
    """Returns the measure of a scorer of scikit-learn's ("neg_median_absolute_error", "f1_macro").

    Args:
        name: the scorer.
        decisions: makes the decisions of outputs.
        probabilities: makes their probabilities, for scorers that take those.

    Returns:
        The measure; None if scikit-learn is not there or has no such scorer.
    """
    try:
        from sklearn.metrics import get_scorer
    except ImportError:
        return None
    try:
        scorer: Any = get_scorer(name)
    except ValueError:
        return None
    response = scorer._response_method
    decided = response == "predict"
    smaller = scorer._sign < 0

    def function(outputs: Tensor, targets: Tensor) -> Any:
        seen = outputs.numpy()
        if not decided and seen.ndim == 2 and seen.shape[1] == 2 and targets.dim() == 1:
            seen = seen[:, 1]  # of two classes the scorers take the second's
        return scorer._score_func(targets.numpy(), seen, **scorer._kwargs)

    functools.update_wrapper(function, scorer._score_func)
    return FunctionMeasure(
        function, name.removeprefix("neg_").replace("_", " "), not smaller,
        percent=name.startswith(_SHARES), bounded=name.startswith(_BOUNDED),
        prepared=decisions if decided else probabilities,
    )  # fmt: skip
