from __future__ import annotations

import pickle

import pytest
import torch

from autocomp.data import load_data


def test_sizes_scale_and_disjoint_splits() -> None:
    splits = load_data("digits")
    assert splits.train is not None
    parts = (splits.train, splits.search, splits.test)
    assert [part.reads for part in parts] == [0, 0, 0]
    assert [len(part) for part in parts] == [1000, 397, 400]
    assert len(splits.calibration) == 256
    assert splits.n_classes == 10
    assert splits.example_inputs(3).shape == (3, 1, 8, 8)
    assert float(splits.train.images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(splits.train.images.std()) == pytest.approx(1, abs=1e-5)
    for part in (*parts, splits.calibration):
        counts = part.labels.bincount(minlength=10)
        assert int(counts.max() - counts.min()) <= 0.02 * len(part) + 2
    assert torch.unique(torch.cat([part.images for part in parts]), dim=0).shape[0] == 1797


def test_the_same_every_time_and_it_travels_to_workers() -> None:
    first, again = load_data("digits"), load_data("digits")
    travelled = pickle.loads(pickle.dumps(load_data("digits")))
    assert first.search.fingerprint() == again.search.fingerprint()
    assert first.search.fingerprint() == travelled.search.fingerprint()
    train = {image.numpy().tobytes() for image in first.train.images}  # type: ignore[union-attr]
    assert all(image.numpy().tobytes() in train for image in first.calibration.images)
