"""Several inputs as one: cut, joined, moved, and handed to a forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autocomp.core.structured import Structured, cut, joined, leaves_of, moved, names_of
from autocomp.errors import DataError

A, B = torch.arange(12.0).reshape(6, 2), torch.arange(6)


def both() -> Structured:
    return Structured(A, mask=B, flag=True, nothing=None, more={"x": A, "y": (B, B)})


def test_it_is_cut_and_counted_like_a_tensor() -> None:
    inputs = both()
    assert len(inputs) == 6 and inputs.numel() == 2 * 12 + 3 * 6
    few = inputs[1:3]
    assert torch.equal(few.args[0], A[1:3]) and torch.equal(few.kwargs["more"]["y"][1], B[1:3])
    assert few.kwargs["flag"] is True and few.kwargs["nothing"] is None
    assert torch.equal(inputs[torch.tensor([4, 0])].kwargs["mask"], B[[4, 0]])
    assert [leaf.dtype for leaf in inputs.to(torch.float64).leaves()] == [torch.float64] * 5
    assert dict(inputs.named()).keys() == {"0", "mask"}
    with pytest.raises(IndexError):
        inputs[0]


@given(st.integers(1, 8))
def test_pieces_join_to_the_whole(size: int) -> None:
    for inputs in (both(), A):
        again = joined(cut(inputs, size))
        pairs = zip(leaves_of(again), leaves_of(inputs), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(leaves_of(moved(both(), lambda x: x + 1))[0], A + 1)


def named(a: Any, b: Any = None) -> None: ...
def anything(**kwargs: Any) -> None: ...
def one(batch: Any) -> None: ...


def test_how_a_forward_pass_takes_it() -> None:
    assert Structured(A, B).arguments(named) == ((A, B), {})
    assert Structured(a=A, b=B).arguments(named) == ((), {"a": A, "b": B})
    assert Structured(x=A).arguments(anything) == ((), {"x": A})
    assert Structured(x=A, y=B).arguments(one) == (({"x": A, "y": B},), {})
    assert Structured(A).arguments(print) == ((A,), {})
    with pytest.raises(DataError, match="'idx' is not among a, b; leave it out"):
        Structured(a=A, idx=B).arguments(named)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Structured(),
        lambda: Structured(flag=True),
        lambda: Structured(A, B[:3]),
        lambda: Structured(torch.tensor(1.0)),
    ],
)
def test_what_are_no_inputs(make: Any) -> None:
    with pytest.raises(DataError, match="same number of samples"):
        make()


def test_batches_that_differ() -> None:
    with pytest.raises(DataError, match="pad them"):
        joined([Structured(A), Structured(A[:, :1])])
    with pytest.raises(DataError, match="some have 1 and some 2"):
        joined([Structured(A), Structured(A, B)])
    with pytest.raises(DataError, match="'b' is not in each"):
        joined([Structured(a=A, b=B), Structured(a=A)])
    with pytest.raises(DataError, match="'causal' is True and False"):
        joined([Structured(a=A, causal=True), Structured(a=A, causal=False)])
    with pytest.raises(DataError, match="some hold one tensor and some several"):
        joined([Structured(a=A), A])


def test_batches_are_joined_by_name() -> None:
    whole = joined([Structured(a=A, b=B), Structured(b=B, a=A)])
    assert torch.equal(whole.kwargs["a"], torch.cat([A, A]))
    assert torch.equal(whole.kwargs["b"], torch.cat([B, B]))


def test_an_entry_may_be_called_self() -> None:
    assert torch.equal(Structured(**{"self": A}).kwargs["self"], A)


def test_tensors_have_names() -> None:
    assert names_of(A) == ["input"] == names_of(Structured(A))
    assert names_of(Structured(x=A)) == ["x"] and names_of(Structured(A, m=B)) == ["input_0", "m"]
    assert names_of(Structured((A, B))) == ["input_0", "input_1"]
