"""Views of training images: cropped, mirrored, with a patch cut out; the same at every repetition.

What happens to sample i in view v depends on the seed, i and v alone. So a teacher's outputs on a
view can be kept, and a training that is resumed sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.core.structured import Inputs, Structured
from autocomp.errors import TrainingError, unknown

OPERATIONS = ("crop", "flip", "cutout")
"""What `parse_augmentation` knows by name."""
_PHOTOGRAPH = 24
Change = Callable[[Tensor, torch.Generator], Tensor]
"""A user's own: images of a batch, random numbers -> images of the same shape."""


@dataclass(frozen=True)
class Augmentation:
    """Which operations make the views; images are `(n, channels, height, width)`.

    Attributes:
        crop: pixels that an image is moved by at most, up, down and sideways; zeros come in.
        flip: whether half of the images are mirrored.
        cutout: side of a square that is set to zero (DeVries and Taylor 2017, arXiv:1708.04552);
            0 for none.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0

    @property
    def is_none(self) -> bool:
        """Whether every view is the sample itself."""
        return not (self.crop or self.flip or self.cutout)

    def view(self, images: Inputs, indices: Tensor, number: int, seed: int) -> Inputs:
        """Returns a view of some samples.

        Args:
            images: the samples; other inputs than images stay as they are.
            indices: which samples they are, `(n,)`.
            number: which view.
            seed: of all views.
        """
        if self.is_none:
            return images
        if isinstance(images, Structured):
            return images.map(lambda leaf: self._seen(leaf, indices, number, seed))
        return self._seen(images, indices, number, seed)

    def _seen(self, images: Tensor, indices: Tensor, number: int, seed: int) -> Tensor:
        if images.dim() != 4 or not images.is_floating_point():
            return images
        draw = _Draws(indices, number, seed)
        height, width = images.shape[2:]
        if self.crop:
            images = _moved(images, draw.below(2 * self.crop + 1) - self.crop,
                            draw.below(2 * self.crop + 1) - self.crop)  # fmt: skip
        if self.flip:
            turned = draw.below(2).bool().to(images.device)
            images = torch.where(turned.view(-1, 1, 1, 1), images.flip(3), images)
        if self.cutout:
            images = _cut_out(images, self.cutout, draw.below(height), draw.below(width))
        return images


def usual_augmentation(shape: Sequence[int]) -> Augmentation:
    """Returns what suits samples of a shape: crops and mirror images of photographs.

    Three channels and a side of 24 at least count as a photograph; anything else, as a digit, is
    left as it is.
    """
    if len(shape) != 3 or shape[0] != 3 or min(shape[1:]) < _PHOTOGRAPH:
        return Augmentation()
    return Augmentation(crop=max(1, min(shape[1:]) // 8), flip=True)


def parse_augmentation(text: str, shape: Sequence[int] = ()) -> Augmentation:
    """Reads "crop+flip+cutout", each with a size if wanted ("crop4+cutout8"), "none", or "auto".

    Args:
        text: the operations.
        shape: of one sample, for "auto".

    Raises:
        TrainingError: for an unknown operation.
    """
    if text == "auto":
        return usual_augmentation(shape)
    sizes = {"crop": 4, "flip": 1, "cutout": 8}
    given: dict[str, int] = {}
    for part in text.replace(" ", "").split("+"):
        name = part.rstrip("0123456789")
        if part in ("", "none"):
            continue
        if name not in sizes:
            raise TrainingError(unknown("augmentation", part, OPERATIONS))
        given[name] = int(part[len(name) :] or sizes[name])
    return Augmentation(given.get("crop", 0), bool(given.get("flip", 0)), given.get("cutout", 0))


class _Draws:
    """Random numbers that depend on a sample, a view, a seed and how many were drawn before."""

    def __init__(self, indices: Tensor, view: int, seed: int) -> None:
        self._at = indices.long().cpu() * 1_000_003 + view * 7_919 + seed * 104_729
        self._drawn = 0

    def below(self, limit: int) -> Tensor:
        """Returns a whole number in [0, limit) for each sample."""
        self._drawn += 1
        x = self._at + self._drawn * 0x632BE5AB
        for _ in range(2):  # an integer hash (Wellons 2018, "lowbias32")
            x = ((x & 0xFFFFFFFF) ^ ((x & 0xFFFFFFFF) >> 16)) * 0x7FEB352D & 0xFFFFFFFF
            x = (x ^ (x >> 15)) * 0x846CA68B & 0xFFFFFFFF
            x = x ^ (x >> 16)
        return x % limit


def _moved(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Returns images moved by whole pixels; zeros come in."""
    reach = int(torch.stack([down.abs().max(), right.abs().max()]).max())
    if reach == 0:
        return images
    height, width = images.shape[2:]
    padded = F.pad(images, (reach,) * 4)
    rows = (torch.arange(height) + reach)[None] - down[:, None]
    columns = (torch.arange(width) + reach)[None] - right[:, None]
    at = torch.arange(len(images))[:, None, None, None]
    channels = torch.arange(images.shape[1])[None, :, None, None]
    return padded[at, channels, rows[:, None, :, None], columns[:, None, None, :]]


def _cut_out(images: Tensor, side: int, row: Tensor, column: Tensor) -> Tensor:
    height, width = images.shape[2:]
    rows, columns = torch.arange(height)[None], torch.arange(width)[None]
    tall = (rows >= row[:, None] - side // 2) & (rows < row[:, None] + (side + 1) // 2)
    wide = (columns >= column[:, None] - side // 2) & (columns < column[:, None] + (side + 1) // 2)
    gone = (tall[:, :, None] & wide[:, None, :]).to(images.device)
    return images.masked_fill(gone[:, None], 0.0)
