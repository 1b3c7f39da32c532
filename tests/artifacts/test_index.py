"""The index of a file, what it is deflated with, and the numbers that symbol models begin with."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autocomp.artifacts.deflate import deflate, inflate
from autocomp.artifacts.index import Index
from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.artifacts.varints import fold, read_varints, unfold, write_varints
from autocomp.core.choice import NEUTRAL
from autocomp.core.plan import Plan
from autocomp.errors import ArtifactError


def norm(name: str, channels: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": torch.ones(channels, dtype=dtype) for part in parts}


def model() -> PackedModel:
    """Usual and special entries of every kind."""
    return PackedModel(
        plan=Plan(dict.fromkeys(("a", "block.b", "c.q"), NEUTRAL)),
        layers=(
            LayerEntry("a", "a.weight", "a"),
            LayerEntry("block.b", "block.b.parametrizations.weight.original", "block.b"),
            LayerEntry("c.q", "c.in_proj_weight", "c"),
        ),
        weights={
            "a.weight": torch.ones(2, 3),
            "block.b.parametrizations.weight.original": torch.ones(2, 1, 3, 3).double(),
            "c.in_proj_weight": torch.ones(6, 2),
        },
        side={**norm("n", 5), "c.in_proj_bias": torch.ones(6), **norm("m", 7, torch.float64),
              **norm("k", 1)},
        exact={"x": torch.zeros(2).int(), "n.num_batches_tracked": torch.tensor(5),
               "k.num_batches_tracked": torch.tensor([5])},
        norms=("n", "m", "k"),
        aliases={"d.weight": "a.weight"},
        source={"name": "digits", "options": {"width": 8}},
    )  # fmt: skip


def test_everything_comes_back() -> None:
    for packed in (model(), replace(model(), source=None, aliases={}, norms=())):
        index = Index.of(packed)
        found = Index.from_bytes(index.to_bytes())
        assert found == index
        assert tuple(layer for layer, _ in found.layers) == packed.layers
        assert {x.name for x in found.exact} == set(packed.exact)
        assert found.aliases == packed.aliases and found.source == packed.source


def test_names_of_known_networks_cost_next_to_nothing() -> None:
    names = [f"layer{stage}.{block}.bn1" for stage in (1, 2, 3) for block in range(3)]
    side = {k: t for name in names for k, t in norm(name, 16).items()}
    counters = {f"{name}.num_batches_tracked": torch.tensor(1) for name in names}
    packed = replace(model(), side=side, exact=counters, norms=tuple(names))
    bare = replace(model(), side={}, exact={}, norms=())
    assert len(Index.of(packed).to_bytes()) - len(Index.of(bare).to_bytes()) < 60


@given(st.binary(max_size=2000))
def test_deflating(data: bytes) -> None:
    stored = deflate(data)
    assert inflate(stored, len(data)) == data
    for length in {0, len(stored) // 2, len(stored) - 1}:
        with pytest.raises((ArtifactError, zlib.error)) as caught:
            inflate(stored[:length], len(data))
        assert "\n" not in str(caught.value)


def test_the_dictionary_is_part_of_the_format() -> None:
    """Files that exist could no longer be read if it changed: raise the version then."""
    from autocomp.artifacts.deflate import _DICTIONARY

    assert zlib.crc32(_DICTIONARY) == 4280305427


@given(st.lists(st.integers(0, 2**35 - 1), max_size=20), st.integers(-(2**20), 2**20))
def test_varints(numbers: list[int], signed: int) -> None:
    assert unfold(fold(signed)) == signed and fold(signed) >= 0
    found, rest = read_varints(memoryview(write_varints(numbers) + b"end"), len(numbers))
    assert found == numbers and bytes(rest) == b"end"
    assert len(write_varints([fold(signed)])) == 1 or abs(signed) >= 64


def test_damaged_varints() -> None:
    with pytest.raises(IndexError):
        read_varints(memoryview(b"\x80\x80"), 1)
    with pytest.raises(ValueError, match="too long"):
        read_varints(memoryview(b"\xff" * 9), 1)
