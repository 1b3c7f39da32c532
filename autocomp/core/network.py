"""What the search may know of a network: every tensor, sorted by what may be done to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autocomp.core.choice import NEUTRAL
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.plan import Plan
from autocomp.errors import LayerError, PlanError, unknown


@dataclass(frozen=True)
class Network:
    """Every tensor of a network, sorted by what may be done to it.

    Attributes:
        layers: the layers that a plan speaks of, in the order of a forward pass.
        frozen: compressible layers that the user wants left alone.
        side: biases, normalisation parameters and floating-point statistics (state-dict names);
            rounded when the weights are quantized.
        exact: other floating-point buffers and every integer buffer, stored unchanged.
        unsupported: parameters that no compressor knows, stored unchanged.
        aliases: state-dict names of tied tensors -> the name under which they are stored.
        n_parameters: number of parameters, tied ones once.
        norms: batch norms (module names) that are one gain and one shift a channel in evaluation
            mode; their four tensors are in `side`.
        unread: frozen layers whose weights a forward pass does not read.
        other_macs: multiply-accumulates of one example outside all layers' calls: products of
            activations, as attention has, recurrent layers, weights that are computed.
        uncounted: operations that multiply in ways of their own, which no number counts.
    """

    layers: tuple[LayerSpec, ...]
    frozen: tuple[LayerSpec, ...]
    side: tuple[str, ...]
    exact: tuple[str, ...]
    unsupported: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]
    n_parameters: int
    norms: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    other_macs: int = 0
    uncounted: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers that a plan speaks of."""
        return tuple(layer.name for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one example: of all layers and of what multiplies beside them."""
        return sum(layer.macs for layer in (*self.layers, *self.frozen)) + self.other_macs

    def layer(self, name: str) -> LayerSpec:
        """Returns the layer called `name`; LayerError with a suggestion if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise LayerError(unknown("layer", name, self.names))

    def neutral_plan(self) -> Plan:
        """The plan that leaves every layer as it is."""
        return Plan({name: NEUTRAL for name in self.names})

    def check(self, plan: Plan) -> None:
        """Raises PlanError unless `plan` names exactly this network's layers, in order."""
        if not isinstance(plan, Plan):
            raise PlanError(f"A plan must be a Plan, but got {plan!r:.60}; write Plan({{...}}).")
        if tuple(plan) == self.names:
            return
        for name in plan:
            if name not in self.names:
                raise PlanError(unknown("layer", name, self.names))
        missing = [name for name in self.names if name not in plan]
        if missing:
            raise PlanError(f"The plan misses layer {missing[0]!r}; give one choice per layer.")
        raise PlanError(f"The plan must list its layers in forward order: {list(self.names)}.")


def split_frozen(
    layers: Iterable[LayerSpec], keep: Iterable[str], unread: Iterable[str] = ()
) -> tuple[tuple[LayerSpec, ...], tuple[LayerSpec, ...]]:
    """Returns (layers to search, layers left alone).

    Raises:
        LayerError: if `keep` names a layer that does not exist, or nothing is left to compress.
    """
    layers = tuple(layers)
    keep = set(keep)
    known = [layer.name for layer in layers]
    for name in sorted(keep):
        if name not in known:
            raise LayerError(unknown("layer to keep", name, known))
    keep |= set(unread)
    searched = tuple(layer for layer in layers if layer.name not in keep)
    if not searched:
        raise LayerError(
            "The network must have a compressible layer, but got none"
            + (
                " beside the frozen ones; keep fewer."
                if layers
                else " (no convolution, linear, "
                "embedding or attention weight is called in its forward pass)."
            )
        )
    return searched, tuple(layer for layer in layers if layer.name in keep)
