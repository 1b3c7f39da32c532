"""Outputs of several parts: the one that counts."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from autocomp.errors import DataError
from autocomp.tasks import Embedding, Regression
from autocomp.tasks.outputs import selected

Y, Z = torch.ones(2, 3), torch.zeros(2, 3)
Named = namedtuple("Named", ["hidden", "logits"])


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


@pytest.mark.parametrize(
    "raw",
    [
        Y, (Y, Z), [Y, Z], {"logits": Y, "hidden": Z}, OrderedDict(out=Y, aux=Z), {"anything": Y},
        Output(None, Y), Output(Z, Y), Named(Z, Y), ({"logits": Y}, "text"),
    ],
    ids=lambda raw: type(raw).__name__,
)  # fmt: skip
def test_what_counts(raw: Any) -> None:
    assert selected(raw, "") is Y


@pytest.mark.parametrize(
    ("raw", "output"),
    [({"a": Z, "b": Y}, "b"), ((Z, Y), "1"), (Output(Z, Y), "logits"), (Named(Z, Y), "logits")],
)
def test_named_outputs(raw: Any, output: str) -> None:
    assert selected(raw, output) is Y
    assert Regression(output=output).outputs(raw, Y) is Y


@pytest.mark.parametrize(
    ("raw", "output", "message"),
    [
        (None, "", "returned a NoneType; name one"),
        ({"a": Y, "b": Z}, "", "a dict with 'a', 'b'; name one with `output`"),
        ({"a": Y}, "b", "must have a tensor 'b', but has a dict with 'a'"),
        (Y, "b", "must have a tensor 'b', but has a Tensor"),
        ((), "", "returned a tuple"),
    ],
)
def test_what_does_not_count(raw: Any, output: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        selected(raw, output)


def test_each_task_has_its_usual_names() -> None:
    raw = {"logits": Z, "pooler_output": Z, "sentence_embedding": Y}
    assert Embedding().outputs(raw, Y) is Y
