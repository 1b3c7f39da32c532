"""Recovering a whole plan once more, front to back, for the inputs that layers really get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from autocomp.compression.calibration.moments import absorbing_layers
from autocomp.compression.calibration.norms import NormCorrection, install
from autocomp.compression.compressed_layer import CompressedLayer
from autocomp.compression.recovery.sequential import PairedMoments, PairedRuns
from autocomp.compression.store import CompressionStore
from autocomp.compression.weights.pipeline import Compressed
from autocomp.compression.writer import PlanWriter
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.plan import Plan
from autocomp.core.quantized import Quantized
from autocomp.core.structured import Inputs

_ATTEMPTS = 4
_STEP = 0.004
"""Sparsity that is added, at least, to a layer whose codes came out too long."""

Bytes = Callable[[LayerSpec, Choice, Quantized | Tensor], int]


def reconstruct(
    store: CompressionStore,
    writer: PlanWriter,
    correction: NormCorrection,
    batches: Sequence[Inputs],
    plan: Plan,
    length: Bytes,
    room: int | None,
) -> dict[str, CompressedLayer]:
    """Returns new options for the layers of a plan, each fitted to its compressed inputs.

    Tables are made on the dense network's inputs; in a compressed one every layer sees what the
    layers before it have left. Here each layer in turn first gets the least-squares weight that
    maps its real inputs z to the outputs that the dense network has (GPTQ and AdaRound call it
    asymmetric), and is then pruned and rounded with the moments of z.

    Args:
        store: the options of the tables, and the dense network.
        writer: writes into the working copy; left with the last plan in place.
        correction: corrects the copy's batch norms before each layer's inputs are looked at.
        batches: calibration inputs.
        plan: one choice per layer.
        length: bytes of a layer's weight in the file.
        room: bytes by which the file may grow, or None for no limit. A layer whose codes come out
            longer than that is pruned a little more, or keeps the table's weight.

    Returns:
        Layer name -> option; layers that keep the table's weight are left out, as those do of
        whose inputs too few were seen.
    """
    found: dict[str, CompressedLayer] = {}
    absorbing = absorbing_layers(store.model, store.network, batches[0][:2])
    runs = PairedRuns(store.model, writer.model, batches)
    norms = correction.front_to_back()
    for layer in store.network.layers:
        choice = plan[layer.name]
        if choice.of_weights.is_neutral:
            continue
        writer.write(plan, found)
        install(writer.model, norms.before(layer.host))
        moments = runs.moments(layer, layer.name in absorbing)
        if moments is None or not moments.suffices:
            continue
        before = length(layer, choice, store.weight(layer, choice))
        allowed = None if room is None else before + room
        made = _fit(store, layer, choice, moments, length, allowed)
        if made is None:
            continue
        weight = made.quantized or made.weight
        if room is not None:
            room += before - length(layer, choice, weight)
        shift = moments.shift(store.dense(layer), made.weight).float()
        found[layer.name] = CompressedLayer(weight, 0.0, shift)
    return found


def _fit(
    store: CompressionStore, layer: LayerSpec, choice: Choice, moments: PairedMoments,
    length: Bytes, allowed: int | None,
) -> Compressed | None:  # fmt: skip
    dense = store.dense(layer)
    target = moments.target(dense).to(dense.dtype)
    stats = replace(store.stats[layer.name], gram=moments.gram)
    tried = choice.of_weights
    for _ in range(_ATTEMPTS):
        made = store.pipeline.run(target, tried, stats)
        bytes_now = length(layer, choice, made.quantized or made.weight)
        if allowed is None or bytes_now <= allowed:
            return made
        if choice.weights.pattern:
            return None  # a pattern's zeros are fixed
        excess = (bytes_now - allowed) / bytes_now
        more = max(_STEP, excess * (1 - tried.weights.sparsity))
        if tried.weights.sparsity + more >= 1:
            return None
        tried = tried.replace(sparsity=tried.weights.sparsity + more)
    return None
