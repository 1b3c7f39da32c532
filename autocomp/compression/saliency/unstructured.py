"""What each single weight is worth, for pruners that zero weights one by one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from autocomp.compression.saliency.gradients import weight_gradients
from autocomp.compression.saliency.loss import Batch
from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import LayerError, UnknownNameError, unknown

WEIGHT_CRITERIA = ("magnitude", "taylor", "obd", "lamp", "lamp-taylor", "lamp-obd")


def weight_scores(
    model: nn.Module,
    layers: Sequence[LayerSpec],
    batches: Sequence[Batch],
    criterion: str = "magnitude",
) -> dict[str, Tensor]:
    """Returns what every weight of some layers is worth; higher means keep.

    "magnitude": `|w|` (Han et al. 2015, arXiv:1506.02626). "taylor": `|w g|` with `g = dE[L]/dw`.
    "obd": `h w^2 / 2` with `h = E[(dL/dw)^2]` (LeCun et al. 1989, the diagonal of the empirical
    Fisher information for the Hessian's). "lamp": `w^2` over the sum of the layer's squares that
    are at least as large (Lee et al. 2021, arXiv:2010.07611), for one threshold over all layers;
    "lamp-taylor" and "lamp-obd" do the same with those scores in place of `w^2`. L is the
    cross-entropy.

    Args:
        model: run in evaluation mode; left as it was.
        layers: layers of it.
        batches: pairs (inputs, labels); without labels the network's decisions stand in. May be
            empty for "magnitude" and "lamp".
        criterion: one of `WEIGHT_CRITERIA`.

    Returns:
        Layer name -> float32 tensor of the weight's shape, on its device.

    Raises:
        UnknownNameError: if there is no such criterion.
        LayerError: if the network has no such weight.
        DataError: if there is no example although one is needed.
    """
    if criterion not in WEIGHT_CRITERIA:
        raise UnknownNameError(unknown("weight criterion", criterion, WEIGHT_CRITERIA))
    known = dict(model.named_parameters(remove_duplicate=False))
    for layer in layers:
        if layer.parameter not in known:
            raise LayerError(unknown("weight", layer.parameter, known))
    weights = {layer.name: known[layer.parameter] for layer in layers}
    values = {name: w.detach().float() for name, w in weights.items()}
    if criterion == "magnitude":
        return {name: w.abs() for name, w in values.items()}
    if criterion == "lamp":
        return {name: lamp(w.square()) for name, w in values.items()}
    squared = criterion.endswith("obd")
    gradients = weight_gradients(model, weights, batches, squared=squared)
    found = {
        name: gradients[name] * w.square() / 2 if squared else (gradients[name] * w).abs()
        for name, w in values.items()
    }
    return {n: lamp(s) for n, s in found.items()} if criterion.startswith("lamp") else found


def lamp(squares: Tensor) -> Tensor:
    """Returns each score over the sum of all scores of the layer that are not pruned before it.

    `lamp_u = s_u / sum of s_v over v that come at or after u in ascending order` (Lee et al. 2021,
    arXiv:2010.07611, with `s = w^2`). The largest weight of every layer has 1, so no layer is
    emptied by a global threshold; the order within a layer stays.

    Args:
        squares: scores of one layer, none negative, any shape.
    """
    flat = squares.reshape(-1).double()
    order = torch.argsort(flat, stable=True)
    left = flat[order].flip(0).cumsum(0).flip(0)
    ratio = torch.where(left > 0, flat[order] / left, torch.zeros_like(left))
    found = torch.empty_like(flat)
    found[order] = ratio
    return found.reshape(squares.shape).to(squares.dtype)
