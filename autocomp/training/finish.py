"""From latents that were trained to a compressed file that meets its limit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from autocomp.artifacts.container import pack, unpack
from autocomp.compression.noted_file import note_file, shapes_of
from autocomp.compression.saving import repacked
from autocomp.core.quantized import Quantized
from autocomp.core.structured import Inputs, moved
from autocomp.errors import BudgetError, TrainingError
from autocomp.network.as_one import plain
from autocomp.network.device import dtype_of, of_type
from autocomp.network.faithful import in_plain_order
from autocomp.network.rebinding import copy_network
from autocomp.training.fitting import fit_codes
from autocomp.training.norm_statistics import restate_norms
from autocomp.training.trainable import freeze
from autocomp.training.trainer import Trainer

_LOG = logging.getLogger(__name__)
_TRIES = 8


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training leaves.

    Attributes:
        network: the network that the file holds, in evaluation mode, on the CPU.
        data: the file's bytes.
        flipped: share of the codes that differ from those before.
        zeros: share of the compressed weights that are zero, before and after.
        sparsities: layer -> share of its weights that are zero, after.
    """

    network: nn.Module
    data: bytes
    flipped: float
    zeros: tuple[float, float]
    sparsities: Mapping[str, float]


def finished(trainer: Trainer, inputs: Sequence[Inputs]) -> Trained:
    """Rounds what was trained to a file within its limit, and reads it back.

    Args:
        trainer: after `run`.
        inputs: batches on which batch norms are looked at before they are rounded.

    Raises:
        BudgetError: if the file cannot meet its limit.
    """
    limit, network = trainer.setup.limit, trainer.network
    before, flipped = _zeros(trainer.packed.weights), 0.0
    aimed = limit
    data = b""
    names = [name for name in trainer.packed.norms if trainer.norms != "train"]

    def placed(leaf: Tensor) -> Tensor:
        return of_type(leaf, dtype_of(trainer.setup.network)).to(trainer.setup.device)

    free = [w.latent.detach().clone() for w in trainer.codes]
    importance = trainer.importance()
    for _ in range(_TRIES):
        if aimed is not None and trainer.codes:
            for weight, latent in zip(trainer.codes, free, strict=True):
                weight.latent.data.copy_(latent)
            _fit(trainer, importance, aimed)
        flipped = trainer.flipped
        made = freeze(copy_network(network)).to(dtype_of(trainer.setup.network))
        restate_norms(made, names, [moved(x, placed) for x in inputs])
        packed = repacked(made)
        data = pack(packed)
        if limit is None or len(data) <= limit or not trainer.codes:
            break
        assert aimed is not None
        aimed -= max(1, len(data) - limit)  # side tensors take more than before
    if limit is not None and len(data) > limit:
        raise BudgetError(
            f"The trained network's file must have at most {limit} bytes, but has {len(data)}; "
            "train with masks=fixed, or give a larger limit."
        )
    small = in_plain_order(plain(made).cpu())
    packed = unpack(data, shapes_of(small))
    small.load_state_dict(packed.state_dict())
    note_file(small, packed)
    _LOG.info("trained: %d bytes, %.2f %% of the codes moved", len(data), 100 * flipped)
    sparsities = {
        layer.name: _zeros({layer.parameter: packed.weights[layer.parameter]})
        for layer in packed.layers
    }
    return Trained(small.eval(), data, flipped, (before, _zeros(packed.weights)), sparsities)


def _fit(trainer: Trainer, importance: Mapping[str, Tensor], limit: int) -> None:
    """Moves latents onto codes that meet a limit: at worst those of the start."""
    try:
        fit_codes(trainer.codes, importance, trainer.length, limit)
    except TrainingError:
        for weight, first in zip(trainer.codes, trainer.first, strict=True):
            weight.latent.data.copy_(first)
        if trainer.length() > limit:
            raise
        _LOG.warning("No codes that were trained fit %d bytes; those of before are kept.", limit)


def _zeros(weights: Mapping[str, Quantized | Tensor]) -> float:
    codes = [w.codes if isinstance(w, Quantized) else w for w in weights.values()]
    total = sum(c.numel() for c in codes)
    return sum(int((c == 0).sum()) for c in codes) / max(1, total)
