"""Views of samples: fixed by seed, sample and view, and of the right kind."""

from __future__ import annotations

import pytest
import torch

from autocomp.errors import TrainingError
from autocomp.training.augmentation import Augmentation, parse_augmentation

IMAGES = torch.arange(8 * 3 * 6 * 6, dtype=torch.float32).reshape(8, 3, 6, 6) + 1


def test_a_view_depends_on_sample_view_and_seed_alone() -> None:
    views = Augmentation(crop=2, flip=True, cutout=2)
    order = torch.tensor([5, 1, 3])
    whole = views.view(IMAGES, torch.arange(8), 2, 7)
    assert torch.equal(views.view(IMAGES[order], order, 2, 7), whole[order])
    assert not torch.equal(views.view(IMAGES, torch.arange(8), 3, 7), whole)
    assert not torch.equal(views.view(IMAGES, torch.arange(8), 2, 8), whole)


def test_a_crop_moves_whole_pixels() -> None:
    moved = Augmentation(crop=1).view(IMAGES, torch.arange(8), 0, 0)
    padded = torch.nn.functional.pad(IMAGES, (1, 1, 1, 1))
    for i in range(8):
        found = [
            torch.equal(moved[i], padded[i, :, a : a + 6, b : b + 6])
            for a in range(3) for b in range(3)
        ]  # fmt: skip
        assert sum(found) == 1


def test_a_flip_mirrors_about_half() -> None:
    many = IMAGES[:1].expand(400, -1, -1, -1)
    turned = Augmentation(flip=True).view(many, torch.arange(400), 0, 0)
    share = [(torch.equal(t, many[0]), torch.equal(t, many[0].flip(2))) for t in turned]
    assert all(a != b for a, b in share)
    assert 150 < sum(a for a, _ in share) < 250


def test_a_cutout_clears_a_square() -> None:
    cut = Augmentation(cutout=3).view(IMAGES, torch.arange(8), 0, 0)
    for image, before in zip(cut, IMAGES, strict=True):
        gone = image == 0
        assert torch.equal(image[~gone], before[~gone])
        assert 4 <= int(gone[0].sum()) <= 9  # less at an edge
        assert torch.equal(gone[0], gone[1])


def test_texts_are_read() -> None:
    assert parse_augmentation("none") == Augmentation()
    assert parse_augmentation("crop+flip") == Augmentation(crop=4, flip=True)
    assert parse_augmentation("crop2 + cutout5") == Augmentation(crop=2, cutout=5)
    assert parse_augmentation("auto", (3, 32, 32)) == Augmentation(crop=4, flip=True)
    assert parse_augmentation("auto", (1, 8, 8)).is_none
    assert parse_augmentation("auto", (40,)).is_none
    with pytest.raises(TrainingError, match="Known: crop, flip, cutout"):
        parse_augmentation("crop+turn")
