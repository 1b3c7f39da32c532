"""VGG networks with batch norm for 32 x 32 images."""

from __future__ import annotations

from torch import Tensor, nn

_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
_CHANNELS = (64, 128, 256, 512, 512)


class CifarVGG(nn.Module):
    """VGG with batch norm and one linear layer (Simonyan and Zisserman 2015, arXiv:1409.1556).

    Five stages of 3 x 3 convolutions, each ended by 2 x 2 max pooling; the three large linear
    layers of the paper are replaced by one, as usual for CIFAR.

    Args:
        stages: how many convolutions each of the five stages has.
        num_classes: how many scores the network gives.
        in_channels: channels of the images; `forward` takes `(N, in_channels, H, W)` with `H` and
            `W` of at least 32, and gives `(N, num_classes)`.
    """

    def __init__(
        self,
        stages: tuple[int, ...] = _STAGES[11],
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for convolutions, channels in zip(stages, _CHANNELS, strict=True):
            for _ in range(convolutions):
                layers.append(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False))
                layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
                in_channels = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scores, `(N, num_classes)`."""
        scores: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return scores


def vgg11(num_classes: int = 10, in_channels: int = 3) -> CifarVGG:
    """VGG-11 with batch norm for 32x32 images (Simonyan and Zisserman 2015)."""
    return CifarVGG(_STAGES[11], num_classes, in_channels)


def vgg13(num_classes: int = 10, in_channels: int = 3) -> CifarVGG:
    """VGG-13 with batch norm for 32x32 images (Simonyan and Zisserman 2015)."""
    return CifarVGG(_STAGES[13], num_classes, in_channels)


def vgg16(num_classes: int = 10, in_channels: int = 3) -> CifarVGG:
    """VGG-16 with batch norm for 32x32 images (Simonyan and Zisserman 2015)."""
    return CifarVGG(_STAGES[16], num_classes, in_channels)
