"""Single predictions: calibration in closed form, agreement, what changed most, and images."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from autocomp.data.split import Split
from autocomp.inspection.predictions import (
    BINS,
    MOST,
    ConfidenceBin,
    calibration,
    compare_predictions,
    png_of,
)


def logits(*probabilities: tuple[float, ...]) -> Tensor:
    return torch.tensor(probabilities).log()


def split(labels: list[int]) -> Split:
    n = len(labels)
    images = torch.arange(n * 12, dtype=torch.float32).reshape(n, 3, 2, 2)
    return Split.of(images, torch.tensor(labels), "four samples")


# ---- calibration


def test_calibration_in_closed_form() -> None:
    found = calibration(torch.tensor([0.05, 0.95, 1.0, 0.55]), torch.tensor([0, 1, 1, 0]).bool())
    assert found.error == pytest.approx(0.25 * 0.05 + 0.5 * 0.025 + 0.25 * 0.55)
    assert [b.n for b in found.bins] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 2]  # 1.0 is in the last one
    assert found.bins[1] == ConfidenceBin(0, 0.0, 0.0)
    assert found.bins[9].confidence == pytest.approx(0.975)
    assert (found.bins[9].accuracy, found.bins[5].accuracy) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("confidence", "right"), [([1.0, 1.0, 1.0], [1, 1, 1]), ([0.5, 0.5], [1, 0]), ([], [])]
)
def test_perfect_calibration_has_no_error(confidence: list[float], right: list[int]) -> None:
    assert calibration(torch.tensor(confidence), torch.tensor(right).bool()).error == 0


def test_sure_and_wrong_is_the_worst() -> None:
    assert calibration(torch.ones(5), torch.zeros(5).bool()).error == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_bins_hold_every_sample_once(samples: list[tuple[float, bool]]) -> None:
    confidence = torch.tensor([c for c, _ in samples], dtype=torch.float64)
    right = torch.tensor([r for _, r in samples])
    found = calibration(confidence, right)
    assert len(found.bins) == BINS
    assert sum(b.n for b in found.bins) == len(samples)
    assert sum(b.n * b.accuracy for b in found.bins) == pytest.approx(int(right.sum()))
    assert sum(b.n * b.confidence for b in found.bins) == pytest.approx(float(confidence.sum()))
    assert 0 <= found.error <= 1 + 1e-12
    for place, b in enumerate(found.bins):
        assert not b.n or place / BINS - 1e-9 <= b.confidence <= (place + 1) / BINS + 1e-9


# ---- both networks


def test_predictions_side_by_side() -> None:
    dense = logits((0.95, 0.05), (0.65, 0.35), (0.15, 0.85), (0.75, 0.25))
    compressed = logits((0.95, 0.05), (0.35, 0.65), (0.35, 0.65), (0.15, 0.85))
    found = compare_predictions(split([0, 0, 1, 1]), dense, compressed)
    assert (found.split, found.n, found.agreement) == ("four samples", 4, 0.5)
    assert [(c.label, c.n, c.dense, c.compressed) for c in found.classes] == [
        ("0", 2, 1.0, 0.5), ("1", 2, 0.5, 1.0),
    ]  # fmt: skip
    # 0.95, 0.65 and 0.85 are right, 0.75 is wrong
    assert found.dense.error == pytest.approx((0.05 + 0.35 + 0.15 + 0.75) / 4)
    # 0.95, 0.85 and one 0.65 are right, the other 0.65 is wrong
    assert found.compressed.error == pytest.approx((0.05 + 0.15 + 2 * 0.15) / 4)
    assert [sample.index for sample in found.changed] == [3, 1, 2, 0]
    most = found.changed[0]
    assert (most.label, most.dense, most.compressed) == ("1", "0", "1")
    assert (most.dense_p, most.compressed_p) == (pytest.approx(0.75), pytest.approx(0.85))
    assert most.divergence == pytest.approx(0.75 * math.log(5) + 0.25 * math.log(5 / 17))
    assert found.changed[-1].divergence == pytest.approx(0, abs=1e-9)
    assert all(sample.png for sample in found.changed)


def test_the_most_changed_are_kept_the_earlier_of_equals_first() -> None:
    n = MOST + 5
    dense = torch.zeros(n, 3)
    found = compare_predictions(split([0] * n), dense, dense)
    assert [sample.index for sample in found.changed] == list(range(MOST))
    assert found.agreement == 1
    assert [c.label for c in found.classes] == ["0"]  # classes without samples have no accuracy


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e38])
@pytest.mark.parametrize("whole", [False, True])
def test_logits_that_are_no_numbers_break_nothing(value: float, whole: bool) -> None:
    dense = logits((0.9, 0.1), (0.4, 0.6))
    broken = dense.clone()
    broken[0, slice(None) if whole else 1] = value
    for pair in ((dense, broken), (broken, dense), (broken, broken)):
        found = compare_predictions(split([0, 1]), *pair)
        json.dumps(asdict(found), allow_nan=False)
        assert all(0 <= s.dense_p <= 1 and 0 <= s.compressed_p <= 1 for s in found.changed)
        assert all(s.divergence >= 0 for s in found.changed)
        assert [b.n for b in found.dense.bins] != [0] * BINS
    found = compare_predictions(split([0, 1]), dense, broken)
    assert found.changed[0].index == 0 and found.changed[0].divergence > 0


def test_half_precision_is_read() -> None:
    dense = logits((0.9, 0.1), (0.4, 0.6)).half()
    assert compare_predictions(split([0, 1]), dense, dense).agreement == 1


# ---- images


def pixels(png: str) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def test_images_of_bytes_are_shown_as_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    colour = torch.randint(0, 256, (3, 5, 4), generator=generator, dtype=torch.uint8)
    assert (pixels(png_of(colour)) == colour.permute(1, 2, 0).numpy()).all()
    grey = colour[:1]
    assert (pixels(png_of(grey)) == grey[0].numpy()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_other_images_are_stretched(dtype: torch.dtype) -> None:
    image = torch.tensor([[[-2.0, 0.0], [1.0, 2.0]]], dtype=dtype)
    assert pixels(png_of(image)).tolist() == [[0, 128], [191, 255]]
    colour = torch.stack([image[0], image[0] - 1, image[0] * 0])
    assert pixels(png_of(colour))[0, 0].tolist() == [51, 0, 153]  # from -3 to 2


def test_an_even_image_is_black() -> None:
    assert pixels(png_of(torch.full((1, 2, 3), 0.5))).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("shape", [(7,), (2, 4, 4), (4, 4), (3, 2, 2, 2)])
def test_what_is_no_image_is_not_shown(shape: tuple[int, ...]) -> None:
    assert png_of(torch.zeros(shape)) == ""
