"""A small vision transformer for 32 x 32 images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autocomp.errors import ModelError


class CifarViT(nn.Module):
    """Vision transformer with a class token (Dosovitskiy et al. 2021, arXiv:2010.11929).

    The defaults have the width and heads of DeiT-Tiny (Touvron et al. 2021), at half its depth.
    Layer norm stands before attention and MLP; positions are learned.

    Args:
        image_size: height and width of the images.
        patch: height and width of a patch; divides `image_size`.
        dim: width of a token; a multiple of `heads`.
        depth: how many blocks.
        heads: attention heads.
        mlp_ratio: the MLP is `mlp_ratio * dim` wide inside.
        num_classes: how many scores the network gives.
        in_channels: channels of the images; `forward` takes `(N, in_channels, image_size,
            image_size)` and gives `(N, num_classes)`, for any `N`.

    Raises:
        ModelError: if `patch` does not divide `image_size` or `heads` does not divide `dim`.
    """

    def __init__(
        self,
        image_size: int = 32,
        patch: int = 4,
        dim: int = 192,
        depth: int = 6,
        heads: int = 3,
        mlp_ratio: int = 4,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if image_size % patch or dim % heads:
            raise ModelError(
                f"`patch` must divide `image_size` and `heads` must divide `dim`, but got "
                f"{patch=}, {image_size=}, {heads=}, {dim=}. Change one of each pair."
            )
        tokens = (image_size // patch) ** 2 + 1
        self.patches = nn.Conv2d(in_channels, dim, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.empty(1, tokens, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, mlp_ratio) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scores, `(N, num_classes)`."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        scores: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return scores


class Block(nn.Module):
    """Attention and MLP, each after a layer norm and with its input added.

    Args:
        dim: width of a token.
        heads: attention heads.
        mlp_ratio: the MLP is `mlp_ratio * dim` wide inside.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, mlp_ratio * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(mlp_ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `(N, tokens, dim)`."""
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        out: Tensor = x + self.fc2(self.act(self.fc1(self.norm2(x))))
        return out


def vit(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int = 32,
    patch: int = 4,
    dim: int = 192,
    depth: int = 6,
    heads: int = 3,
) -> CifarViT:
    """Small vision transformer for 32x32 images, 2.7 million parameters (Dosovitskiy et al.)."""
    return CifarViT(
        image_size=image_size,
        patch=patch,
        dim=dim,
        depth=depth,
        heads=heads,
        num_classes=num_classes,
        in_channels=in_channels,
    )
