from __future__ import annotations

import pytest
import torch
from torch import Tensor

from autocomp.data.split import Split
from autocomp.data.stratify import remaining, stratified
from autocomp.errors import DataError

IMAGES = torch.arange(6 * 12, dtype=torch.float32).view(6, 3, 2, 2)
LABELS = torch.tensor([0, 0, 0, 0, 1, 1])


def test_loads_once_and_only_when_asked() -> None:
    calls: list[int] = []

    def loader() -> tuple[Tensor, Tensor]:
        calls.append(1)
        return IMAGES, LABELS.int()

    split = Split(loader, "mine")
    assert (split.reads, calls) == (0, [])
    assert "not loaded" in repr(split)
    assert len(split) == 6 and split.labels.dtype == torch.int64
    assert torch.equal(split.images, IMAGES)
    assert (split.reads, calls) == (1, [1])
    assert "6 samples" in repr(split)


def test_tensors_in_memory_count_as_unread_until_used() -> None:
    split = Split.of(IMAGES, LABELS, "mine")
    assert split.reads == 0
    assert len(split) == 6 and split.reads == 1


@pytest.mark.parametrize("where", [slice(1, 3), [1, 2], torch.tensor([1, 2])])
def test_batch_of_floats_is_as_stored(where: slice | list[int] | Tensor) -> None:
    images, labels = Split.of(IMAGES.double(), LABELS, "mine").batch(where)
    assert images.dtype == torch.float32
    assert torch.equal(images, IMAGES[1:3]) and torch.equal(labels, LABELS[1:3])


def test_batch_of_bytes_is_normalised_by_hand() -> None:
    stored = torch.tensor([[[[0]], [[255]], [[51]]]], dtype=torch.uint8)
    split = Split.of(stored, torch.tensor([0]), "bytes", mean=(0.0, 0.5, 0.2), std=(1.0, 0.5, 2.0))
    assert split.images.dtype == torch.uint8
    assert torch.allclose(split.batch([0])[0].flatten(), torch.tensor([0.0, 1.0, 0.0]))
    floats = Split.of(stored / 255, torch.tensor([0]), "floats", split.mean, split.std)
    assert torch.allclose(floats.batch([0])[0], split.batch([0])[0])


def test_subset_keeps_shares_and_repeats() -> None:
    split = Split.of(IMAGES, LABELS, "mine")
    first, again, other = split.subset(3, 0), split.subset(3, 0), split.subset(3, 1)
    assert sorted(first.labels.tolist()) == [0, 0, 1]
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert torch.equal(split.subset(99, 0).images, IMAGES)


def test_stratified_draws_without_repetition_and_leaves_the_random_state() -> None:
    labels = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)
    before = torch.random.get_rng_state()
    drawn = stratified(labels, 13, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert labels[drawn].bincount().tolist() == [9, 3, 1]
    rest = remaining(100, drawn)
    assert sorted([*drawn.tolist(), *rest.tolist()]) == list(range(100))
    assert sorted(stratified(labels, 500, seed=0).tolist()) == list(range(100))


def test_stratified_needs_something_to_draw() -> None:
    with pytest.raises(DataError, match="1 <= n"):
        stratified(LABELS, 0, seed=0)
    with pytest.raises(DataError, match="of 0"):
        stratified(LABELS[:0], 1, seed=0)


def test_fingerprint_changes_with_every_part() -> None:
    def mark(images: Tensor = IMAGES / 100, labels: Tensor = LABELS, mean: float = 0.0) -> str:
        return Split.of(images, labels, "any name", (mean,), (1.0,)).fingerprint()

    changed = IMAGES / 100
    changed[5, 2, 1, 1] += 1e-3
    marks = {mark(), mark(images=changed), mark(labels=LABELS.flip(0)), mark(mean=0.1)}
    assert len(marks) == 4 and all(len(m) == 16 for m in marks)
    assert mark() == mark()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:0], LABELS[:0], "not empty"),
        (IMAGES, LABELS[:3], r"6 images and labels of shape \(3,\)"),
        (IMAGES, LABELS[0], r"6 images and labels of shape \(\)"),
        (IMAGES, LABELS + 1j, "real numbers.*complex64"),
        (IMAGES.where(IMAGES != 14, torch.nan), LABELS, "finite.*index 1"),
        (IMAGES.byte(), LABELS, "uint8 images need `mean`"),
        (IMAGES.bool(), LABELS, "floating or uint8.*bool"),
        (IMAGES.numpy(), LABELS, "tensors.*ndarray"),
    ],
)
def test_bad_tensors(images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=f"^mine: .*{message}"):
        Split.of(images, labels, "mine")
    lazy = Split(lambda: (images, labels), "mine")
    with pytest.raises(DataError, match=message):
        len(lazy)


def test_bad_normalisation() -> None:
    with pytest.raises(DataError, match="go together"):
        Split.of(IMAGES, LABELS, "mine", mean=(0.0,))
    with pytest.raises(DataError, match="positive"):
        Split.of(IMAGES, LABELS, "mine", (0.0,), (0.0,))
    with pytest.raises(DataError, match="one `std`"):
        Split.of(IMAGES, LABELS, "mine", (0.0, 0.0), (1.0,))
    with pytest.raises(DataError, match="2 means"):
        Split.of(IMAGES.byte(), LABELS, "mine", (0.0, 0.0), (1.0, 1.0))
    with pytest.raises(DataError, match=r"\[0, 1\].*71"):
        Split.of(IMAGES, LABELS, "mine", (0.0,), (1.0,))


def test_a_failing_loader_is_one_line() -> None:
    def loader() -> tuple[Tensor, Tensor]:
        raise OSError("disk\ngone")

    with pytest.raises(DataError, match="^mine: .*OSError: disk gone") as caught:
        len(Split(loader, "mine"))
    assert "\n" not in str(caught.value)
