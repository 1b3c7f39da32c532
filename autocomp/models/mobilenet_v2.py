"""MobileNetV2 for 32 x 32 images: inverted residuals with depthwise convolutions."""

from __future__ import annotations

from torch import Tensor, nn

# expansion, channels out, blocks, stride of the first block
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class CifarMobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) that keeps 32 x 32 images large enough.

    The first convolution and the 24-channel stage have stride 1 rather than 2, so a 32 x 32 image
    reaches the last stage as 4 x 4.

    Args:
        num_classes: how many scores the network gives.
        in_channels: channels of the images; `forward` takes `(N, in_channels, H, W)` and gives
            `(N, num_classes)`.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = _conv_bn(in_channels, 32, kernel=3)
        blocks: list[nn.Module] = []
        planes = 32
        for expansion, channels, repeats, stride in _STAGES:
            for index in range(repeats):
                step = stride if index == 0 else 1
                blocks.append(InvertedResidual(planes, channels, step, expansion))
                planes = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = _conv_bn(planes, 1280, kernel=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(1280, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scores, `(N, num_classes)`."""
        x = self.head(self.blocks(self.stem(x)))
        scores: Tensor = self.classifier(self.pool(x).flatten(1))
        return scores


class InvertedResidual(nn.Module):
    """Widen (1 x 1), filter each channel (3 x 3), narrow (1 x 1, linear), and add the input.

    Args:
        in_planes: channels that come in.
        planes: channels that go out; the input is added where both and the size are equal.
        stride: of the depthwise convolution, 1 or 2.
        expansion: how many times wider the inside is; 1 leaves the widening out.
    """

    def __init__(self, in_planes: int, planes: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = in_planes * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv_bn(in_planes, inside, kernel=1)]
        layers.append(_conv_bn(inside, inside, kernel=3, stride=stride, groups=inside))
        layers += [nn.Conv2d(inside, planes, 1, bias=False), nn.BatchNorm2d(planes)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and in_planes == planes

    def forward(self, x: Tensor) -> Tensor:
        """Returns `(N, planes, H / stride, W / stride)`."""
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


def _conv_bn(
    in_planes: int, planes: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            in_planes,
            planes,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(planes),
        nn.ReLU6(inplace=True),
    )


def mobilenetv2(num_classes: int = 10, in_channels: int = 3) -> CifarMobileNetV2:
    """MobileNetV2 for 32x32 images, 2.2 million parameters (Sandler et al. 2018)."""
    return CifarMobileNetV2(num_classes, in_channels)
