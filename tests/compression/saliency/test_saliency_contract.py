"""What holds for every registered criterion on every kind of group."""

from __future__ import annotations

import pytest

from autocomp.compression.saliency import CRITERIA, Saliency, make_criterion
from autocomp.testing import CriterionContract

WITHOUT_DATA = ("l1", "l2", "geometric-median", "slimming", "random", "compose")
LABELLED = ("taylor", "taylor-weight", "skeletonization", "fisher", "obd", "lrp")


@pytest.mark.parametrize("name", CRITERIA)
class TestBuiltIn(CriterionContract):
    @pytest.fixture(autouse=True)
    def _choose(self, name: str) -> None:
        self.name = name
        self.needs_norm = name == "slimming"
        self.tells_apart = name != "apoz"
        self.follows_order = name != "random"
        # the distance of a dead unit to the others is not the least
        self.dead_is_least = name not in ("random", "geometric-median")
        self.sees_examples = name not in (*WITHOUT_DATA, "nisp")
        self.sees_labels = name in LABELLED

    def make(self) -> Saliency:
        return make_criterion(self.name)


@pytest.mark.parametrize("name", CRITERIA)
def test_it_says_whether_it_needs_examples(name: str) -> None:
    assert make_criterion(name).needs_data == (name not in WITHOUT_DATA)
