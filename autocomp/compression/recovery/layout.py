"""A weight as rows of matrices that each multiply one block of unfolded inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autocomp.core.layer_spec import LayerSpec

LIMIT = 4608
"""Largest matrix of moments: a 3x3 convolution's over 512 channels.

A layer with more inputs an output gets a block-diagonal one."""


@dataclass(frozen=True)
class Layout:
    """How a weight becomes `(blocks, rows, width)`: each row of a block multiplies its inputs.

    A convolution group, a projection of packed attention weights, or a slice of a wide input is a
    block. Slices are padded with columns of zeros to one width. The columns of a convolution run
    over kernel positions, and over the channels within each.

    Attributes:
        layer: the layer.
        groups: blocks that the layer has by nature: groups, or 3 for packed projections.
        rows: outputs per group.
        inputs: unfolded inputs per group.
        slices: slices that each group's inputs are cut into.
        width: columns of one slice, the last one's padding included.
    """

    layer: LayerSpec
    groups: int
    rows: int
    inputs: int
    slices: int
    width: int

    @classmethod
    def of(cls, layer: LayerSpec, limit: int = LIMIT) -> Layout:
        """Returns the layout of `layer` with Gram matrices of at most `limit` columns."""
        groups = layer.groups
        if layer.kind == "attention" and layer.name.rpartition(".")[2] == "in_proj":
            groups = 3
        rows = layer.outputs // groups
        inputs = layer.n_weights // (groups * rows)
        slices = -(-inputs // limit)
        return cls(layer, groups, rows, inputs, slices, -(-inputs // slices))

    @property
    def kernel(self) -> int:
        """Kernel positions; 1 for what is no convolution."""
        return self.layer.kernel if self.layer.kind in ("conv", "transposed") else 1

    @property
    def padding(self) -> int:
        """Columns of zeros at the end of each group's last slice."""
        return self.slices * self.width - self.inputs

    @property
    def valid(self) -> Tensor:
        """Boolean `(blocks, 1, width)`: False where a column is padding."""
        columns = torch.arange(self.slices * self.width) < self.inputs
        return columns.reshape(self.slices, 1, self.width).repeat(self.groups, 1, 1)

    def split(self, weight: Tensor) -> Tensor:
        """Returns the weight as float64 `(blocks, rows, width)`."""
        g, kernel = self.groups, self.kernel
        if self.layer.out_axis == 1:  # (inputs, outputs / g, kernel...)
            matrix = weight.reshape(g, -1, self.rows, kernel).permute(0, 2, 3, 1)
        else:
            matrix = weight.reshape(g, self.rows, -1, kernel).transpose(2, 3)
        return self.cut(matrix.reshape(g, self.rows, self.inputs).to(torch.float64))

    def cut(self, columns: Tensor) -> Tensor:
        """Cuts `(groups, rows, inputs)` into `(blocks, rows, width)`."""
        rows = columns.shape[1]
        if self.slices == 1:
            return columns
        padded = torch.nn.functional.pad(columns, (0, self.padding))
        sliced = padded.reshape(self.groups, rows, self.slices, self.width).transpose(1, 2)
        return sliced.reshape(-1, rows, self.width)

    def join(self, blocks: Tensor) -> Tensor:
        """Returns `(blocks, rows, width)` in the weight's shape; inverse of `split`."""
        g, shape = self.groups, self.layer.shape
        if self.slices > 1:
            sliced = blocks.reshape(g, self.slices, self.rows, self.width).transpose(1, 2)
            blocks = sliced.reshape(g, self.rows, -1)[..., : self.inputs]
        if self.layer.out_axis == 1:
            matrix = blocks.reshape(g, self.rows, self.kernel, shape[0] // g)
            return matrix.permute(0, 3, 1, 2).reshape(shape)
        return blocks.reshape(g, self.rows, self.kernel, -1).transpose(2, 3).reshape(shape)
