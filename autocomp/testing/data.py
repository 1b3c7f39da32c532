"""The contract of a data set."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autocomp.core.structured import leaves_of
from autocomp.data import DataSplits, Split, as_splits

NAMES = ("calibration", "search", "test")


class DataContract:
    """What a data set that is offered by name promises; subclass it and define `make`.

    What is registered is a function, of no argument or of a path; it returns what `as_splits`
    takes. There are three splits, calibration, search and test (and perhaps train), none of them
    empty, of inputs of one shape and type, finite, with labels of one kind, classes in
    `[0, classes)`. No example is in two of the three: what a plan is chosen on must not judge it.
    Loading twice gives the same examples in the same order, and touches no random state.
    """

    def make(self) -> Any:
        """Returns what the registered function does."""
        raise NotImplementedError

    @pytest.fixture
    def data(self) -> DataSplits:
        """The splits."""
        return as_splits(self.make())

    def test_the_splits_are_not_empty_and_alike(self, data: DataSplits) -> None:
        """Finite, one shape, one type."""
        splits = [_of(data, name) for name in NAMES]
        assert all(len(split) > 0 for split in splits)
        kinds = {
            tuple((leaf.shape[1:], leaf.dtype) for leaf in leaves_of(split.images))
            for split in splits
        }
        assert len(kinds) == 1
        assert all(bool(x.isfinite().all()) for split in splits for x in leaves_of(split.images))

    def test_labels_are_of_one_kind(self, data: DataSplits) -> None:
        """One a sample, or none at all; class numbers are whole numbers from 0."""
        found = [_of(data, name).labels for name in NAMES]
        assert len({None if x is None else (x.shape[1:], x.dtype) for x in found}) == 1
        for name, labels in zip(NAMES, found, strict=True):
            split = _of(data, name)
            assert labels is None or len(labels) == len(split.images)
            data.check_labels(split)
            if data.n_classes is not None:
                assert labels is not None
                assert int(labels.min()) >= 0 and int(labels.max()) < data.n_classes

    def test_no_example_is_in_two_splits(self, data: DataSplits) -> None:
        """Equal inputs are the same example."""
        seen: dict[bytes, str] = {}
        for name in NAMES:
            images = _of(data, name).images
            for place in range(len(images)):
                rows = [leaf.contiguous().numpy() for leaf in leaves_of(images[place : place + 1])]
                key = b"".join(row.tobytes() for row in rows)
                assert seen.setdefault(key, name) == name, f"in {seen[key]} and in {name}"

    def test_loading_is_repeatable_and_draws_nothing(self) -> None:
        """The same examples in the same order."""
        state = torch.get_rng_state()
        first, second = as_splits(self.make()), as_splits(self.make())
        assert torch.equal(state, torch.get_rng_state())
        for name in NAMES:
            a, b = _of(first, name), _of(second, name)
            assert a.fingerprint() == b.fingerprint()


def _of(data: DataSplits, name: str) -> Split:
    found: Split = getattr(data, name)
    return found
