"""Residual networks for 32 x 32 images, with shortcuts that have no weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.errors import ModelError


class CifarResNet(nn.Module):
    """The CIFAR ResNet of depth `6n + 2` (He et al. 2016, arXiv:1512.03385, section 4.2).

    A 3 x 3 convolution, three stages of `n` blocks with 16, 32 and 64 channels, global average
    pooling and one linear layer. Where a stage begins, the shortcut takes every second pixel and
    pads the channels with zeros (option A). The names of the weights are those of
    pytorch_resnet_cifar10 (Y. Idelbayev): conv1, bn1, layer1.0.conv1, ..., linear.

    Args:
        depth: 20, 32, 44, 56, 110, or any other `6n + 2` of at least 8.
        num_classes: how many scores the network gives.
        in_channels: channels of the images; `forward` takes `(N, in_channels, H, W)` and gives
            `(N, num_classes)`.

    Raises:
        ModelError: if `depth` is not `6n + 2`.
    """

    def __init__(self, depth: int = 20, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ModelError(f"`depth = 6 n + 2 >= 8` must hold, but got {depth=}. Try 20 or 32.")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scores, `(N, num_classes)`."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        scores: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return scores


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and the shortcut around them.

    Args:
        in_planes: channels that come in.
        planes: channels that go out; `(planes - in_planes)` of them are zeros in the shortcut.
        stride: 1, or 2 to halve height and width.
    """

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        same = stride == 1 and in_planes == planes
        self.shortcut = nn.Identity() if same else ZeroPadShortcut(planes // 4)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `relu(F(x) + shortcut(x))`."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ZeroPadShortcut(nn.Module):
    """Option A: every second pixel, and `pad` channels of zeros on both sides.

    Args:
        pad: channels added before the first and after the last.
    """

    def __init__(self, pad: int) -> None:
        super().__init__()
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        """Returns `(N, C + 2 pad, H / 2, W / 2)`."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))


def _stage(in_planes: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_planes, planes, stride)
    return nn.Sequential(first, *(BasicBlock(planes, planes, 1) for _ in range(blocks - 1)))


def resnet20(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """CIFAR ResNet-20, 269,722 parameters (He et al. 2016)."""
    return CifarResNet(20, num_classes, in_channels)


def resnet32(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """CIFAR ResNet-32, 464,154 parameters (He et al. 2016)."""
    return CifarResNet(32, num_classes, in_channels)


def resnet44(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """CIFAR ResNet-44, 658,586 parameters (He et al. 2016)."""
    return CifarResNet(44, num_classes, in_channels)


def resnet56(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """CIFAR ResNet-56, 853,018 parameters (He et al. 2016)."""
    return CifarResNet(56, num_classes, in_channels)


def resnet110(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """CIFAR ResNet-110, 1,727,962 parameters (He et al. 2016)."""
    return CifarResNet(110, num_classes, in_channels)
