"""Scoring networks on the search split, beside the dense network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autocomp.core.fidelity import Fidelity
from autocomp.network.batches import Batches
from autocomp.network.scoring import predictions
from autocomp.tasks.classification import Score, divergence, is_behind, is_right, total_score


@dataclass(frozen=True)
class ComparedScore:
    """A score, and the divergence of the outputs from the dense network's."""

    score: Score
    divergence: float


class Scorer:
    """Scores networks on fixed images, and remembers what the dense network makes of them.

    Args:
        dense: the dense network.
        splits: level ("F1", "F2") -> its images.
    """

    def __init__(self, dense: nn.Module, splits: Mapping[Fidelity, Batches]) -> None:
        self._dense = dense
        self._splits = splits
        self._scores: dict[Fidelity, Score] = {}
        self._outputs: dict[Fidelity, Tensor] = {}
        self._right: dict[tuple[str, Fidelity], Tensor] = {}

    def dense_score(self, level: Fidelity) -> Score:
        """Returns the dense network's score."""
        self.dense_outputs(level)
        return self._scores[level]

    def dense_outputs(self, level: Fidelity) -> Tensor:
        """Returns the dense network's logits, `(n, classes)`."""
        if level not in self._outputs:
            parts = list(predictions(self._dense, self._splits[level]))
            self._outputs[level] = torch.cat([logits for logits, _ in parts])
            self._scores[level] = total_score(parts)
        return self._outputs[level]

    def outputs(self, model: nn.Module, level: Fidelity) -> Tensor:
        """Returns a network's logits, `(n, classes)`."""
        return torch.cat([logits for logits, _ in predictions(model, self._splits[level])])

    def right(self, key: str, fidelity: Fidelity = Fidelity.FULL) -> Tensor | None:
        """Returns which images a network was right on, `(n,)`; None if it was not judged so."""
        return self._right.get((key, fidelity))

    def judge(
        self, model: nn.Module, fidelity: Fidelity, key: str, best: str | None = None
    ) -> ComparedScore | None:
        """Scores a network as it is; remembers which images of the whole split are right.

        Args:
            model: the network.
            fidelity: "F1", "F2" or "F2S".
            key: identifies what was written into it.
            best: key of a network that was judged on the whole split; None is returned as soon as
                this one is significantly behind, image by image.
        """
        parts: list[tuple[Tensor, Tensor]] = []
        for logits, labels in predictions(model, self._splits[fidelity.images]):
            parts.append((logits, labels))
            if best is not None:
                right = torch.cat([is_right(*part) for part in parts])
                if is_behind(right, self._right[best, Fidelity.FULL][: len(right)]):
                    return None
        outputs = torch.cat([logits for logits, _ in parts])
        if fidelity.images is Fidelity.FULL:
            self._right[key, fidelity] = torch.cat([is_right(*part) for part in parts])
        return ComparedScore(
            total_score(parts), divergence(outputs, self.dense_outputs(fidelity.images))
        )
