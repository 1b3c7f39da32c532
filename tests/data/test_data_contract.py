"""The contract of a data set, for the one that comes with the package."""

from __future__ import annotations

from autocomp.data import DATA, DataSplits
from autocomp.testing import DataContract


class TestDigits(DataContract):
    def make(self) -> DataSplits:
        made: DataSplits = DATA["digits"]()
        return made
