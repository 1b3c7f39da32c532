"""Language models: the next token of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.core.metric import Metric
from autocomp.core.structured import Inputs, Structured, leaves_of
from autocomp.errors import DataError
from autocomp.tasks.base import Task
from autocomp.tasks.classification import kullback_leibler, ratio
from autocomp.tasks.measure import Measure, SumMeasure

IGNORED = -100
"""Label of tokens that do not count, as in PyTorch and transformers."""


class LanguageModel(Task):
    """The next token of a text: logits `(n, tokens, vocabulary)`; no labels beside the inputs.

    Position t is to foretell token t + 1 of the inputs (`input_ids`, or the only tensor of whole
    numbers), or of the labels where these are given; labels that are the inputs shifted by one
    already are taken as such. Tokens labelled -100, and those that an `attention_mask` leaves out,
    do not count. Metrics: perplexity, exp of the mean loss over all
    tokens; token-accuracy. Loss: cross-entropy in nats, averaged over a sample's tokens.
    Divergence: KL(dense || compressed) in nats, averaged over its positions.
    """

    name: ClassVar[str] = "language-model"
    temperature: ClassVar[float] = 4.0
    needs_labels: ClassVar[bool] = False

    def measures(self) -> Mapping[str, Measure]:
        """Returns perplexity and token-accuracy."""
        perplexity = Metric("perplexity", larger_is_better=False, percent=False, bounded=False)
        return {
            "perplexity": SumMeasure(perplexity, _losses, lambda sums: ratio(sums).exp()),
            "token-accuracy": SumMeasure(Metric("token accuracy"), _right, ratio),
        }

    def outputs(self, raw: Any, inputs: Inputs) -> Tensor:
        """Returns the logits, 0 for all tokens where a mask leaves a position out."""
        logits = super().outputs(raw, inputs)
        mask = _named(inputs, "attention_mask")
        if mask is None or logits.dim() != 3 or mask.shape != logits.shape[:2]:
            return logits
        return logits.masked_fill((mask == 0).unsqueeze(2), 0)

    def targets(self, labels: Tensor | None, inputs: Inputs) -> Tensor | None:
        """Returns the tokens to foretell, `(n, tokens)`, `IGNORED` where they do not count."""
        read = _named(inputs, "input_ids")
        whole = [x for x in leaves_of(inputs) if not x.is_floating_point() and x.dim() == 2]
        mask = _named(inputs, "attention_mask")
        if read is None:
            others = [x for x in whole if x is not mask]
            read = others[0] if len(others) == 1 else None
            if labels is None and len(others) > 1:
                raise DataError(
                    f"A language model's tokens must be its only input of whole numbers, or called "
                    f"input_ids, but {len(others)} inputs are; rename it, or give labels."
                )
        tokens = read if labels is None else labels
        if tokens is None:
            return None
        if labels is not None and read is not None and _are_next(labels, read):
            first = torch.full_like(labels[:, :1], IGNORED)
            tokens = torch.cat([first, labels[:, :-1]], 1)
        if mask is not None and mask.shape == tokens.shape:
            tokens = tokens.masked_fill(mask == 0, IGNORED)
            unseen = mask[:, :-1] == 0  # nothing is foretold from a position that is left out
            tokens = torch.cat([tokens[:, :1], tokens[:, 1:].masked_fill(unseen, IGNORED)], 1)
        return tokens

    def check(self, outputs: Tensor, targets: Tensor | None) -> None:
        """Raises DataError unless outputs are `(n, tokens, vocabulary)` and tokens fit them."""
        if targets is None:  # of inputs without labels that are no tokens
            if outputs.dim() != 3 or not outputs.is_floating_point():
                raise DataError(
                    f"A language model's outputs must be (n, tokens, vocabulary), but the network "
                    f"returned {tuple(outputs.shape)}; give the texts that belong to it."
                )
            return
        fits = outputs.dim() == 3 and outputs.shape[:2] == targets.shape
        if not fits or targets.shape[1] < 2 or not outputs.is_floating_point():
            raise DataError(
                f"A language model's outputs must be (n, tokens, vocabulary) for tokens "
                f"{tuple(targets.shape)}, at least two each, but the network returned "
                f"{tuple(outputs.shape)}; give the texts that belong to it."
            )
        top = int(targets.max())
        if top >= outputs.shape[2]:
            raise DataError(
                f"Every token must be below the network's vocabulary of {outputs.shape[2]}, but "
                f"got {top}; give the texts' tokens of this network."
            )

    def check_labels(self, labels: Tensor | None, name: str) -> None:
        """Raises DataError unless labels, where there are any, are tokens."""
        if labels is None:
            return
        if labels.dim() != 2 or labels.is_floating_point():
            raise DataError(
                f"{name}: labels of a language model must be (N, tokens) integers, but got shape "
                f"{tuple(labels.shape)} of {labels.dtype}; leave them out to foretell the inputs."
            )
        if not bool((labels[:, 1:] != IGNORED).any()):
            raise DataError(
                f"{name}: labels of a language model must count some tokens, but all are "
                f"{IGNORED}; give the tokens to foretell."
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the cross-entropy in nats, averaged over the tokens that count."""
        losses, counts = _token_losses(outputs, targets)
        return losses.sum(1) / counts.sum(1).clamp(min=1)

    def divergence(self, outputs: Tensor, dense: Tensor) -> Tensor:
        """Returns KL(dense || compressed) in nats, averaged over positions."""
        return kullback_leibler(outputs, dense, 2).sum(2).mean(1)

    def drawn_loss(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the cross-entropy of drawn tokens over the root of the number of positions."""
        flat = outputs.reshape(-1, outputs.shape[2])
        drawn = torch.multinomial(flat.detach().softmax(1).cpu(), 1, generator=generator)
        loss = F.cross_entropy(flat, drawn[:, 0].to(flat.device), reduction="sum")
        scaled: Tensor = loss / outputs.shape[1] ** 0.5
        return scaled

    def decisions(self, outputs: Tensor) -> Tensor:
        """Returns the tokens of largest logit."""
        return outputs.argmax(2)


def _are_next(labels: Tensor, read: Tensor) -> bool:
    """Whether labels are the tokens after those that are read."""
    if labels.shape != read.shape or labels.shape[1] < 2:
        return False
    known = labels[:, :-1] != IGNORED
    return bool((labels[:, :-1] == read[:, 1:])[known].all()) and not torch.equal(labels, read)


def _named(inputs: Inputs, name: str) -> Tensor | None:
    return dict(inputs.named()).get(name) if isinstance(inputs, Structured) else None


def _token_losses(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the loss of each token but the first, 0 where it does not count, and which count."""
    wanted = targets[:, 1:].long()
    logits = outputs[:, :-1].transpose(1, 2)
    losses = F.cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORED)
    return losses, wanted != IGNORED


def _known(targets: Tensor | None) -> Tensor:
    if targets is None:
        raise DataError(
            "A language model's inputs must be tokens, (n, tokens) whole numbers, but none of its "
            "inputs is; give them, or labels."
        )
    return targets


def _losses(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    targets = _known(targets)
    losses, counts = _token_losses(outputs, targets)
    return torch.stack([losses.double().sum(1), counts.sum(1).double()], 1)


def _right(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    wanted = _known(targets)[:, 1:]
    counts = wanted != IGNORED
    right = (outputs[:, :-1].argmax(2) == wanted) & counts
    return torch.stack([right.sum(1), counts.sum(1)], 1)
