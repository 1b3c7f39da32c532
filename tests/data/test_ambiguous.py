"""Data that may mean two things are refused, or taken as most would mean them; nothing is lost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, TensorDataset

from autocomp.core.structured import Structured
from autocomp.data.adapt import as_split
from autocomp.data.item import pair_of
from autocomp.errors import DataError

X, Y = torch.randn(12, 6), torch.arange(12) % 3


def test_a_list_of_a_loader_s_batches_is_read() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=4)
    split = as_split(list(loader), "mine")
    assert torch.equal(split.images, X)
    assert torch.equal(split.labels, Y)


def test_two_batches_are_not_inputs_and_targets() -> None:
    with pytest.raises(DataError, match="two batches; give a tuple"):
        as_split([X[:6], X[6:]], "mine")
    assert len(as_split((X[:6], X[6:]), "mine")) == 6
    assert len(as_split([X, Y], "mine")) == 12


class Sequences(Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.randn(6, 8), torch.randn(6, 8)


def test_samples_that_look_like_batches_are_refused() -> None:
    with pytest.raises(DataError, match="may be one sample or a batch"):
        _ = as_split(DataLoader(Sequences(), batch_size=None), "mine").images
    batched = DataLoader(
        TensorDataset(X, X), batch_size=None, sampler=BatchSampler(SequentialSampler(X), 4, False)
    )
    assert torch.equal(as_split(batched, "mine").images, X)


def test_a_single_entry_keeps_its_name() -> None:
    inputs, labels = pair_of({"image": X, "labels": Y}, "mine")
    assert list(inputs) == ["image"] and torch.equal(labels, Y)

    class Two(nn.Module):
        def forward(self, text: Tensor | None = None, image: Tensor | None = None) -> Tensor:
            assert image is not None
            return image

    assert Structured(image=X).arguments(Two().forward) == ((), {"image": X})
    only = Structured(pixels=X).arguments(nn.Linear(6, 2).forward)
    assert only[0][0] is X and not only[1]
    with pytest.raises(DataError, match="uint8, which nothing would normalise"):
        as_split(({"a": X, "b": X.to(torch.uint8)}, Y), "mine")


def test_a_batch_is_no_view_of_the_data() -> None:
    own = X.clone()
    split = as_split((own, Y), "mine")
    for part in (slice(0, 4), torch.arange(4)):
        images, _ = split.batch(part)
        images.add_(1)
    several = as_split(({"a": own, "b": own}, Y), "mine")
    several.batch(slice(0, 4))[0].kwargs["a"].add_(1)
    assert torch.equal(own, X)
