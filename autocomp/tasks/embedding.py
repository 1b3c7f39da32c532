"""Embedding: a vector for each sample, which keeps its direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.core.metric import Metric
from autocomp.core.structured import Inputs, Structured
from autocomp.errors import AutocompError, DataError
from autocomp.tasks.base import Task
from autocomp.tasks.classification import ratio
from autocomp.tasks.measure import Measure, SumMeasure

POOLINGS = ("mean", "first", "none")
"""How a vector for each token becomes one for a sample."""


class Embedding(Task):
    """A vector for each sample, `(n, width)`, which is to keep the dense network's direction.

    Without labels. Metric: cosine to the dense network's vectors, averaged over samples.
    Divergence and loss: 1 less that cosine.

    Args:
        metric: what leads, see `Task`.
        output: name of the entry that counts, see `Task`.
        pooling: of outputs with a vector for each token, `(n, tokens, width)`: their "mean" over
            the tokens that an `attention_mask` among the inputs counts, the "first", or "none":
            every one as it is.
    """

    name: ClassVar[str] = "embedding"
    needs_labels: ClassVar[bool] = False
    compares: ClassVar[bool] = True
    unit: ClassVar[str] = "of the cosine"
    usual: ClassVar[tuple[str, ...]] = (
        "sentence_embedding", "embedding", "embeddings", "image_embeds", "text_embeds",
        "last_hidden_state", "pooler_output",
    )  # fmt: skip

    def __init__(self, metric: Any = "", output: str = "", pooling: str = "mean") -> None:
        if pooling not in POOLINGS:
            raise AutocompError(
                f"`pooling` must be one of {', '.join(POOLINGS)}, but got {pooling!r}; change it."
            )
        self.pooling = pooling
        super().__init__(metric, output)

    def measures(self) -> Mapping[str, Measure]:
        """Returns cosine."""
        return {"cosine": SumMeasure(Metric("cosine", percent=False), _cosines, ratio)}

    def outputs(self, raw: Any, inputs: Inputs) -> Tensor:
        """Returns a vector for each sample."""
        found = super().outputs(raw, inputs)
        if found.dim() != 3 or self.pooling == "none":
            return found
        if self.pooling == "first":
            return found[:, 0]
        mask = _mask(inputs)
        if mask is None:
            return found.mean(1)
        if mask.shape != found.shape[:2]:
            raise DataError(
                f"An attention_mask must have a number for each of the {tuple(found.shape[:2])} "
                f"vectors that are averaged, but has shape {tuple(mask.shape)}; give pooling=first "
                "or pooling=none, or name another output."
            )
        weight = mask.to(found.dtype).unsqueeze(2)
        return (found * weight).sum(1) / weight.sum(1).clamp(min=1)

    def targets(self, labels: Tensor | None, inputs: Inputs) -> Tensor | None:
        """Returns labels only for a metric of the user's own."""
        return labels

    def check(self, outputs: Tensor, targets: Tensor | None) -> None:
        """Raises DataError unless outputs are vectors."""
        if outputs.dim() < 2 or not outputs.is_floating_point():
            raise DataError(
                f"An embedding must be a vector for each sample, (n, width), but the network "
                f"returned {tuple(outputs.shape)} of {outputs.dtype}; name the output that counts "
                "with `output`."
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns 1 less the cosine to target vectors; 0 for targets of another kind."""
        if targets.shape != outputs.shape:
            return outputs.new_zeros(len(outputs))
        return self.divergence(outputs, targets)

    def divergence(self, outputs: Tensor, dense: Tensor) -> Tensor:
        """Returns 1 less the cosine to the dense network's vector."""
        return (1 - _cosine(outputs, dense)).clamp(min=0)

    def drawn_loss(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the product of normal noise with the unit vectors: 1 - cos = 1/2 |du|^2."""
        units = F.normalize(outputs.flatten(1), dim=1)
        return (torch.randn(units.shape, generator=generator).to(units) * units).sum()


def _mask(inputs: Inputs) -> Tensor | None:
    if isinstance(inputs, Structured):
        return dict(inputs.named()).get("attention_mask")
    return None


def _cosine(outputs: Tensor, dense: Tensor) -> Tensor:
    a, b = outputs.flatten(1).double(), dense.flatten(1).double()
    return F.cosine_similarity(a, b, dim=1).to(outputs.dtype)


def _cosines(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    cosine = _cosine(outputs, dense)
    return torch.stack([cosine, torch.ones_like(cosine)], 1)
