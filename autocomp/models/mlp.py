"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from autocomp.errors import ModelError


class MLP(nn.Module):
    """Linear layers with ReLU between them, on flattened inputs (LeNet-300-100 by default).

    Args:
        in_features: numbers in one sample; 64 fits the digits.
        hidden: widths of the hidden layers (LeCun et al. 1998: 300 and 100).
        num_classes: how many scores the network gives; `forward` takes `(N, ...)` and gives
            `(N, num_classes)`.

    Raises:
        ModelError: if a width is below 1.
    """

    def __init__(
        self, in_features: int = 64, hidden: Sequence[int] = (300, 100), num_classes: int = 10
    ) -> None:
        super().__init__()
        widths = (in_features, *hidden, num_classes)
        if min(widths) < 1:
            raise ModelError(
                f"Each width must be at least 1, but got {widths}. Use positive widths."
            )
        layers: list[nn.Module] = []
        for width, following in zip(widths[:-2], widths[1:-1], strict=True):
            layers += [nn.Linear(width, following), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-2], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scores, `(N, num_classes)`."""
        scores: Tensor = self.layers(x)
        return scores


def mlp(in_features: int = 64, hidden: Sequence[int] = (300, 100), num_classes: int = 10) -> MLP:
    """Multilayer perceptron with 300 and 100 hidden units, sized for the 8x8 digits."""
    return MLP(in_features, hidden, num_classes)
