"""What nothing else undercuts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def pareto_front(*columns: NDArray[Any]) -> Ints:
    """Returns the places of the points that no other undercuts, sorted by the columns in order.

    A point is left out if another is as small in every column and smaller in one; of equal points
    the first is kept.

    Args:
        columns: one or more arrays `(n,)`, all of them to be small.

    >>> pareto_front(np.array([3, 1, 2]), np.array([0.0, 2.0, 2.5])).tolist()
    [1, 0]
    """
    order = np.lexsort(columns[::-1])
    if len(columns) == 1:
        return np.asarray(order[:1])
    if len(columns) == 2:
        values = columns[1][order]
        return np.asarray(order[np.r_[True, values[1:] < np.minimum.accumulate(values)[:-1]]])
    left = [column[order] for column in columns]
    kept = []
    while len(order):
        kept.append(int(order[0]))
        stays = ~np.logical_and.reduce([column[0] <= column for column in left])
        order, left = order[stays], [column[stays] for column in left]
    return np.array(kept, np.int64)
