"""Writing a network that came from a compressed file, after its tensors were changed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from autocomp.artifacts.container import pack
from autocomp.artifacts.packed import PackedModel
from autocomp.artifacts.side import round_side
from autocomp.artifacts.side_form import SideForm, eps_of
from autocomp.compression.noted_file import file_of
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized
from autocomp.errors import ArtifactError
from autocomp.plugins.border import border
from autocomp.storage.files import write_bytes

_LOG = logging.getLogger(__name__)


@border("autocomp.save")
def save(network: nn.Module, path: str | Path) -> Path:
    """Writes a network that `load` or a search gave, with its tensors as they are now.

    The plan stays: zeros that it asked for stay zero, and a quantized weight that has left its
    layer's grid is rounded to the nearest code, as biases and norms are rounded to what a file
    holds; the network itself is not changed. The log ("autocomp") says how far weights were moved;
    numbers far from what their codes can say go to the nearest, with a warning.

    Args:
        network: the network, on any device.
        path: the file to write, all or nothing.

    Returns:
        The path.

    Raises:
        ArtifactError: if the network did not come from a compressed file, its tensors have other
            names or shapes, a number is not finite, or the file cannot be written.
    """
    again, moved, clipped = _again(network)
    _LOG.info("%s: weights were moved by up to %.3g to what the plan allows.", path, moved)
    if clipped:
        warnings.warn(
            f"{len(clipped)} weights, {clipped[0]!r} first, hold numbers that are far from what "
            "their layer's codes can say, and went to the nearest; score the file.",
            RuntimeWarning,
            stacklevel=2,
        )
    try:
        write_bytes(Path(path), pack(again))
    except OSError as error:
        raise ArtifactError(
            f"The file must be writable, but {str(path)!r} is not ({error.strerror or error}); "
            "choose another path."
        ) from None
    return Path(path)


def repacked(network: nn.Module) -> PackedModel:
    """Returns the contents of the file that `save` would write.

    Raises:
        ArtifactError: as `save` does.
    """
    return _again(network)[0]


def _again(network: nn.Module) -> tuple[PackedModel, float, list[str]]:
    """Returns a network's file, how far weights were moved for it, and which were clipped."""
    packed = file_of(network) if isinstance(network, nn.Module) else None
    if packed is None:
        raise ArtifactError(
            "A network must come from autocomp.load or a search to be saved in its compressed "
            f"form, but this {type(network).__name__} does not; torch.save writes any network."
        )
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    _check(state, packed)
    side = {name: state[name] for name in packed.side}
    if packed.plan.side_bits == 16:
        form = SideForm.of(side, packed.norms, eps_of(network))
        form = replace(form, wide=form.wide | (packed.wide & set(side)))
        side = round_side(side, form)
        packed = replace(packed, norms=tuple(form.norms), wide=form.wide)
    plans = {layer.parameter: packed.plan[layer.name] for layer in packed.layers}
    weights = {
        name: _recoded(stored, state[name], plans[name]) for name, stored in packed.weights.items()
    }
    moved = max((_distance(w, state[name]) for name, w in weights.items()), default=0.0)
    clipped = [name for name, w in weights.items() if _is_clipped(w, state[name])]
    again = replace(
        packed, weights=weights, side=side, exact={name: state[name] for name in packed.exact}
    )
    return again, moved, clipped


def _check(state: Mapping[str, Tensor], packed: PackedModel) -> None:
    wanted = packed.state_dict()
    for name in (*wanted, *state):
        if name not in state or name not in wanted or state[name].shape != wanted[name].shape:
            raise ArtifactError(
                f"The network must have the tensors of its file, but {name!r} differs; change "
                "values, not shapes."
            )
    for name in (*packed.weights, *packed.side):
        if state[name].is_floating_point() and not bool(torch.isfinite(state[name]).all()):
            raise ArtifactError(
                f"The network's numbers must be finite, but {name!r} holds NaN or infinity."
            )


def _recoded(stored: Quantized | Tensor, now: Tensor, choice: Choice) -> Quantized | Tensor:
    """Returns a layer's weight under its choice, as near to what it is now as can be."""
    pruned = bool(choice.weights.sparsity or choice.weights.pattern)
    if isinstance(stored, Tensor):
        return torch.where(stored == 0, torch.zeros_like(now), now) if pruned else now.clone()
    codes = torch.round(now.float() / stored.scale)
    if are_signs(stored, choice):
        codes = torch.where(now < 0, -1.0, 1.0) * (stored.codes != 0)
    codes = codes.clamp(*code_range(stored, choice)).to(stored.codes.dtype)
    if pruned:
        codes = torch.where(stored.codes == 0, torch.zeros_like(codes), codes)
    return Quantized(codes, stored.scale)


def are_signs(stored: Quantized, choice: Choice) -> bool:
    """Whether a layer's codes are -1 and 1, and 0 only where a weight is pruned."""
    return choice.weights.bits == 1 and int(stored.codes.abs().max()) <= 1


def code_range(stored: Quantized, choice: Choice) -> tuple[int, int]:
    """Returns the least and the largest code that a layer's weights may take.

    Symmetric, unless the codes that are stored use the one more that a bit-width has.
    """
    top = Quantized.largest_code(choice.weights.bits)
    low = min(-top, int(stored.codes.min()))
    high = max(top, int(stored.codes.max())) if low == -top else low + 2**choice.weights.bits - 1
    return low, max(high, int(stored.codes.max()))


def _is_clipped(weight: Quantized | Tensor, now: Tensor) -> bool:
    """Whether a weight lies further from the grid than rounding alone would leave it."""
    if not isinstance(weight, Quantized):
        return False
    kept = weight.codes != 0  # what the plan prunes is no matter of range
    gap = (weight.dequantize(now.dtype) - now).abs() > 0.51 * weight.scale.abs()
    return bool((gap & kept).any())


def _distance(weight: Quantized | Tensor, now: Tensor) -> float:
    dense = weight.dequantize(now.dtype) if isinstance(weight, Quantized) else weight
    return float((dense - now).abs().max())
