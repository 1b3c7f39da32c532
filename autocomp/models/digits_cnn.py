"""A small residual network for the 8 x 8 digits, and its training in seconds."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.data.digits import digits
from autocomp.data.split import Split
from autocomp.models.kept_weights import kept_weights

_EPOCHS, _BATCH, _PEAK_RATE, _WEIGHT_DECAY, _SMOOTHING = 25, 50, 0.01, 0.01, 0.1


class DigitsCNN(nn.Module):
    """A 3 x 3 convolution, three residual blocks and a linear layer; 38,266 parameters.

    Eight convolutions with batch norm: the first block keeps 8 x 8 pixels and `width` channels,
    the second goes to 4 x 4 and `2 width` (a 1 x 1 convolution in the shortcut), the third stays.

    Args:
        width: channels of the first layers.
        num_classes: how many scores the network gives; `forward` takes `(N, 1, H, W)` and gives
            `(N, num_classes)`.
    """

    def __init__(self, width: int = 16, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.block1 = ResidualBlock(width, width, stride=1)
        self.block2 = ResidualBlock(width, 2 * width, stride=2)
        self.block3 = ResidualBlock(2 * width, 2 * width, stride=1)
        self.linear = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scores, `(N, num_classes)`."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.block3(self.block2(self.block1(x)))
        scores: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return scores


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around which the input is added, projected where shapes differ.

    Args:
        in_planes: channels that come in.
        planes: channels that go out.
        stride: 1, or 2 to halve height and width.
    """

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Returns `relu(F(x) + shortcut(x))`."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


def digits_cnn(width: int = 16, num_classes: int = 10) -> DigitsCNN:
    """Small residual network for the 8x8 digits; trains itself in seconds, needs no weights."""
    return DigitsCNN(width, num_classes)


def train_digits(seed: int = 0, width: int = 16, num_classes: int = 10) -> nn.Module:
    """Trains a `DigitsCNN` on the training split of the digits, and reads no other split.

    AdamW with a one-cycle learning rate (Smith and Topin 2018, arXiv:1708.07120), label smoothing
    of 0.1, and shifts by up to one pixel.

    The weights are kept in the user's cache folder, so that this takes its seconds once.

    Args:
        seed: weights, order and shifts all come from it; the caller's random state stays.
        width: as in `DigitsCNN`.
        num_classes: as in `DigitsCNN`.

    Returns:
        The trained network in eval mode; above 97 % on the test split.
    """
    with torch.random.fork_rng(devices=[]):
        model = DigitsCNN(width, num_classes)
    model.load_state_dict(_trained(seed, width, num_classes))
    return model.eval()


@functools.lru_cache(maxsize=8)
def _trained(seed: int, width: int, num_classes: int) -> Mapping[str, Tensor]:
    """Returns the trained tensors; kept, for a program may want the network many times."""
    source = Path(__file__).read_text()
    settings = (seed, width, num_classes, _EPOCHS, _BATCH, _PEAK_RATE, _WEIGHT_DECAY, _SMOOTHING)
    data = digits()
    images = (data.train or data.calibration).fingerprint()
    key = f"{settings} {torch.__version__} {version('scikit-learn')} {images} {source}"
    return kept_weights("digits", key, lambda: _train(seed, width, num_classes))


def _train(seed: int, width: int, num_classes: int) -> Mapping[str, Tensor]:
    data = digits()
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), _one_thread():
        torch.default_generator.manual_seed(seed)
        model = DigitsCNN(width, num_classes)
        _fit(model, data.train or data.calibration, torch.Generator().manual_seed(seed))
    return model.state_dict()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Computes in one thread: faster at this size, and sums do not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fit(model: nn.Module, split: Split, generator: torch.Generator) -> None:
    images, labels = split.images, split.labels
    assert isinstance(images, Tensor) and labels is not None
    shifted = _shifts(images)
    steps = -(-len(images) // _BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_PEAK_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, _EPOCHS * steps)
    model.train()
    for _ in range(_EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        which = torch.randint(len(shifted), (len(images),), generator=generator)
        for rows in torch.split(order, _BATCH):
            scores = model(shifted[which[rows], rows])
            loss = F.cross_entropy(scores, labels[rows], label_smoothing=_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


def _shifts(images: Tensor) -> Tensor:
    """Returns all nine shifts by up to one pixel, `(9, N, C, H, W)`; background comes in."""
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1), value=float(images.min()))
    return torch.stack(
        [padded[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    )
