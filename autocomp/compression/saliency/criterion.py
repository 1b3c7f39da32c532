"""One family of criteria: what is looked at, pointwise function, reduction, scaling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.saliency.base import CriterionError
from autocomp.compression.saliency.gradients import weight_gradients
from autocomp.compression.saliency.importance import importance
from autocomp.compression.saliency.loss import (
    LOSSES,
    Batch,
    chunks,
    labels_or_decisions,
    outputs_of,
)
from autocomp.compression.saliency.pointwise import POINTWISE, WITH_GRADIENT
from autocomp.compression.saliency.propagation import constant_parameters
from autocomp.compression.saliency.reduction import REDUCTIONS, Reduction
from autocomp.compression.saliency.relevance import relevance
from autocomp.compression.saliency.scaling import SCALINGS, output_shapes, scaled
from autocomp.compression.saliency.units import Seat, consumers, norms, producers
from autocomp.compression.saliency.views import Views, flowing_back
from autocomp.compression.structure.groups import ChannelGroup
from autocomp.core.structured import Inputs
from autocomp.errors import LayerError, ModelError, UnknownNameError, unknown
from autocomp.network.device import of_type
from autocomp.network.modes import evaluation_mode
from autocomp.network.rebinding import copy_network

WEIGHTS = {"weight": producers, "outgoing": consumers, "norm": norms}
SEEN = ("activation", "gradient", "relevance", "importance")
BASES = (*WEIGHTS, *SEEN)
COMBINES = ("sum", "mean")


@dataclass(frozen=True)
class Criterion:
    """`score = K * sum over members of E_examples[ R_places( F(x) ) ]`.

    The family of compositional pruning metrics, base x pointwise x reduction x scaling.

    A unit that lives in several places is worth the sum of what it is worth in each: the sum over
    all layers that make it (base "weight"), over all that read it (the other bases but "norm"), or
    over its batch norms. A depthwise convolution counts as a maker, not as a reader.

    Attributes:
        base: what is looked at. "weight": the weights that make the unit, without biases;
            "outgoing": the weights that read it; "norm": the gains of its batch norms;
            "activation": the unit as its readers see it, behind norm, activation and additions;
            "gradient": the loss's gradient there; "relevance": what LRP brings there; "importance":
            what NISP brings there.
        pointwise: F, a name in `POINTWISE`; those of gradients work on "weight", "outgoing",
            "norm" and "activation".
        reduction: R, a name in `REDUCTIONS`: over the places of a unit in one example, then the
            mean over the examples. "variance", "redundancy" and "median_distance" take places and
            examples together. Weights count as one example, with the gradient of the mean loss.
        scaling: K, a name in `SCALINGS`.
        combine: "sum" over the members of a group, or "mean" over those that have the unit.
        loss: a name in `LOSSES`.

    Raises:
        UnknownNameError: if an attribute is none of its names.
        CriterionError: if base and pointwise function do not go together.
    """

    base: str = "weight"
    pointwise: str = "abs"
    reduction: str = "sum"
    scaling: str = "none"
    combine: str = "sum"
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        choices: dict[str, Iterable[str]] = {
            "base": BASES, "pointwise": POINTWISE, "reduction": REDUCTIONS,
            "scaling": SCALINGS, "combine": COMBINES, "loss": LOSSES,
        }  # fmt: skip
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                raise UnknownNameError(unknown(name, str(value), known))
        if self.pointwise in WITH_GRADIENT and self.base not in (*WEIGHTS, "activation"):
            raise CriterionError(
                f"Pointwise {self.pointwise!r} multiplies weights or activations by their "
                f"gradient, but got base {self.base!r}; take base 'activation', or pointwise 'abs'."
            )

    @property
    def needs_data(self) -> bool:
        """Whether `scores` runs the network."""
        return (
            self.base in SEEN or self.pointwise in WITH_GRADIENT or SCALINGS[self.scaling].needs_run
        )

    @property
    def needs_classes(self) -> bool:
        """Whether it looks at a loss of classes, or at the relevance for one."""
        return self.base == "relevance" or self.pointwise in WITH_GRADIENT

    def scores(
        self, model: nn.Module, groups: Sequence[ChannelGroup], batches: Sequence[Batch]
    ) -> dict[str, Tensor]:
        """Returns what each unit is worth.

        Args:
            model: the network; run in evaluation mode, not modified.
            groups: its groups.
            batches: pairs (inputs, labels); may be empty if the criterion needs no data. Where
                labels are None, the classes that the network decides for stand in.

        Returns:
            Group name -> float32 tensor `(units,)` on the model's device; higher means keep.

        Raises:
            LayerError: if a group does not fit the network, has no such member, or NISP or LRP
                have no rule for an operation.
            DataError: if there is no example although one is needed, or labels do not fit.
            ModelError: if the network gives no scores, or a unit's worth is not finite.
        """
        members = {group.name: self._members(model, group) for group in groups}
        if not groups:
            return {}
        seats = [seat for found in members.values() for seat in found]
        if self.base in WEIGHTS:
            pieces = self._weights(model, seats, batches)
        else:
            pieces = self._seen(model, seats, batches)
        reductions: dict[Seat, Reduction] = {seat: REDUCTIONS[self.reduction]() for seat in seats}
        function = POINTWISE[self.pointwise]
        for seat, x, gradient in pieces:
            reductions[seat].add(function(_precise(x), _precise(gradient)))
        shapes = {}
        if SCALINGS[self.scaling].needs_run:
            shapes = output_shapes(model, groups, batches)
        found = {}
        for group in groups:
            total = self._combined(group, members[group.name], reductions)
            worth = scaled(self.scaling, total, model, group, shapes).to(torch.float32)
            if not bool(worth.isfinite().all()):
                raise ModelError(
                    f"The scores of group {group.name!r} must be finite, but got "
                    f"{worth[~worth.isfinite()][0].item()}; check the network for infinite "
                    "weights or activations."
                )
            found[group.name] = worth.to(_device(model))
        return found

    def _members(self, model: nn.Module, group: ChannelGroup) -> list[Seat]:
        modules = dict(model.named_modules())
        for member in group.members:
            if member.module not in modules:
                raise LayerError(unknown(f"module of group {group.name!r}", member.module, modules))
        found = WEIGHTS.get(self.base, consumers)(model, group)
        if not found:
            what = {"weight": "makes", "norm": "normalises (with a gain)"}.get(self.base, "reads")
            raise LayerError(
                f"Base {self.base!r} needs a layer that {what} the units of a group, but "
                f"{group.name!r} has none; take another base, such as 'weight', or leave it out."
            )
        return found

    def _combined(
        self, group: ChannelGroup, seats: Sequence[Seat], reductions: Mapping[Seat, Reduction]
    ) -> Tensor:
        total = torch.zeros(group.units, dtype=torch.float64)
        count = torch.zeros(group.units, dtype=torch.float64)
        for seat in seats:
            total[list(seat.units)] += reductions[seat].result()
            count[list(seat.units)] += 1
        return total / count.clamp(min=1) if self.combine == "mean" else total

    def _weights(
        self, model: nn.Module, seats: Sequence[Seat], batches: Sequence[Batch]
    ) -> Iterator[tuple[Seat, Tensor, Tensor]]:
        """Yields each seat with the weights of its units and their gradients, `(1, units, k)`."""
        names = dict.fromkeys(seat.module for seat in seats)
        weights: dict[str, nn.Parameter] = {
            name: _weight(model.get_submodule(name), name) for name in names
        }
        gradients: dict[str, Tensor] = {name: w.detach() for name, w in weights.items()}
        if self.pointwise in WITH_GRADIENT:
            fisher = self.pointwise == "obd"
            gradients = weight_gradients(model, weights, batches, self.loss, squared=fisher)
            if fisher:
                gradients = {name: square.sqrt() for name, square in gradients.items()}
        for seat in seats:
            module = model.get_submodule(seat.module)
            x = seat.weights(module, weights[seat.module].detach())
            yield seat, x[None], seat.weights(module, gradients[seat.module])[None]

    def _seen(
        self, model: nn.Module, seats: Sequence[Seat], batches: Sequence[Batch]
    ) -> Iterator[tuple[Seat, Tensor, Tensor]]:
        """Yields each seat with what its reader sees and what flows back, `(n, units, places)`."""
        names = dict.fromkeys(seat.module for seat in seats)
        with_gradient = self.base != "activation" or self.pointwise in WITH_GRADIENT
        double = self.base == "importance" and _device(model).type != "mps"
        if double:  # grows with every layer, beyond single precision in deep networks
            model = copy_network(model).double()
        with evaluation_mode(model), constant_parameters(model):
            for inputs, labels in chunks(model, batches):
                if double:
                    inputs = of_type(inputs, torch.float64)
                with Views(model, names, with_gradient) as views:
                    if with_gradient:
                        seen, back = self._both(model, views, inputs, labels)
                    else:
                        with torch.no_grad():
                            model(inputs)
                        seen = back = views.taken()
                chosen = seen if self.base == "activation" else back
                for seat in seats:
                    module = model.get_submodule(seat.module)
                    # a layer that is called several times sees the unit in several places
                    x, gradient = (
                        torch.cat([seat.inputs(module, t.detach()) for t in calls[seat.module]], 2)
                        for calls in (chosen, back)
                    )
                    yield seat, x, gradient

    def _both(
        self, model: nn.Module, views: Views, inputs: Inputs, labels: Tensor | None
    ) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
        modes: dict[str, Any] = {"relevance": relevance, "importance": importance}
        with torch.enable_grad():
            if self.base not in modes:
                scores = outputs_of(model, inputs)
                value = LOSSES[self.loss](scores, labels_or_decisions(scores, labels))
                seen = views.taken()
                return seen, flowing_back(torch.ones_like(value), value, seen)
            if isinstance(inputs, Tensor) and inputs.is_floating_point():
                inputs = inputs.detach().requires_grad_()  # a term of sums, not a constant
            with modes[self.base]():
                scores = outputs_of(model, inputs)
            seen = views.taken()
            seeds = torch.ones_like(scores)
            if self.base == "relevance":
                labels = labels_or_decisions(scores, labels)
                seeds = torch.zeros_like(scores).scatter_(1, labels.unsqueeze(1), 1)
                seeds = seeds * scores.detach().abs()
            return seen, flowing_back(seeds, scores, seen)


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _weight(module: nn.Module, name: str) -> nn.Parameter:
    weight = getattr(module, "_parameters", {}).get("weight")
    if not isinstance(weight, nn.Parameter):
        raise LayerError(
            f"A criterion of the weights needs a weight in {name!r}, but {type(module).__name__} "
            "has none or computes it; leave its group out, or use base 'activation'."
        )
    return weight
