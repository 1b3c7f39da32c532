"""The order in which a group loses its units, so that every count is a prefix."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autocomp.compression.recovery.gram import Gram
from autocomp.compression.structure.groups import ChannelGroup
from autocomp.compression.structure.known_attention import is_turned
from autocomp.compression.structure.repair import column_mask
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network


def removal_order(
    model: nn.Module, network: Network, moments: Mapping[str, Gram], group: ChannelGroup
) -> list[int]:
    """Returns the group's units, the first to go first: greedy, with least-squares repair.

    The unit whose removal costs the outputs of all its readers least goes next,

        sum over readers of tr(W_u ([G^-1]_uu)^-1 W_u^T) / tr(W G W^T),

    then weights and inverses are updated by block elimination, so that each step counts what the
    others have made up for (optimal brain surgeon on blocks: Hassibi and Stork 1993; Frantar and
    Alistarh 2022, arXiv:2208.11580). Ties go to the later unit. A group none of whose readers has
    moments goes by the norm of what makes its units.

    Args:
        model: the dense network.
        network: its layers.
        moments: layer name -> moments of its inputs.
        group: the group.
    """
    layers = {layer.parameter: layer for layer in network.layers}
    readers = []
    for member in group.by_role("in"):
        layer = layers.get(f"{member.module}.weight" if member.module else "weight")
        if layer is not None and layer.name in moments:
            weight = model.get_parameter(layer.parameter).detach().cpu()
            readers.append(_Reader(layer, weight, moments[layer.name], member.channels))
    if not readers:
        norms = _norms(model, group)
        return torch.argsort(norms, stable=True).tolist()
    left = list(range(group.units))
    order: list[int] = []
    while len(left) > 1:
        costs = torch.stack([reader.costs(left) for reader in readers]).sum(0)
        worst = len(left) - 1 - int(costs.flip(0).argmin())
        unit = left.pop(worst)
        order.append(unit)
        for reader in readers:
            reader.remove(unit)
    return order + left


class _Reader:
    """One layer that reads a group's units, as blocks of columns that are eliminated together."""

    def __init__(
        self, layer: LayerSpec, weight: Tensor, gram: Gram, channels: tuple[tuple[int, ...], ...]
    ) -> None:
        self._inverse = torch.linalg.inv(gram.hessian)
        self._rows = gram.layout.split(weight)
        self._energy = max(float(gram.row_errors(self._rows).sum()), 1e-30)
        self._columns: list[list[tuple[int, Tensor]]] = []
        for places in channels:
            reads = gram.layout.split(1 - column_mask(layer, places)).amax(1) > 0
            blocks = reads.any(1).nonzero()[:, 0].tolist()
            self._columns.append([(b, reads[b].nonzero()[:, 0]) for b in blocks])

    def costs(self, units: list[int]) -> Tensor:
        """Returns what removing each unit would cost, as a share of the outputs' energy."""
        values = torch.zeros(len(units), dtype=torch.float64)
        for places in self._alike(units).values():
            pairs = [self._columns[units[p]][i] for p, i in places]
            blocks = torch.tensor([b for b, _ in pairs])
            columns = torch.stack([c for _, c in pairs])
            inner = self._inverse[blocks[:, None, None], columns[:, :, None], columns[:, None, :]]
            rows = self._rows[blocks[:, None], :, columns].transpose(1, 2)
            solved = torch.linalg.solve(inner, rows.transpose(1, 2))
            cost = (rows.transpose(1, 2) * solved).sum((1, 2))
            values.index_add_(0, torch.tensor([p for p, _ in places]), cost)
        return values / self._energy

    def remove(self, unit: int) -> None:
        """Eliminates a unit's columns."""
        for block, columns in self._columns[unit]:
            inverse = self._inverse[block]
            part = torch.linalg.solve(inverse[columns][:, columns], inverse[columns])
            self._rows[block] -= self._rows[block][:, columns] @ part
            self._inverse[block] = inverse - inverse[:, columns] @ part
            # rounding must not bring back what is gone
            self._rows[block][:, columns] = 0

    def _alike(self, units: list[int]) -> dict[int, list[tuple[int, int]]]:
        """Groups (place in `units`, part) by the number of columns, to be worked off at once."""
        found: dict[int, list[tuple[int, int]]] = {}
        for place, unit in enumerate(units):
            for part, (_, columns) in enumerate(self._columns[unit]):
                found.setdefault(len(columns), []).append((place, part))
        return found


def _norms(model: nn.Module, group: ChannelGroup) -> Tensor:
    """Returns the summed squared weights that make each unit."""
    total = torch.zeros(group.units, dtype=torch.float64)
    for member in group.by_role("out"):
        module = model.get_submodule(member.module)
        weight = module.get_parameter("weight").detach().cpu().double()
        transposed = isinstance(
            module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        )
        rows = weight.transpose(0, 1) if transposed or is_turned(module) else weight
        squares = rows.reshape(len(rows), -1).square().sum(1)
        for unit, places in enumerate(member.channels):
            total[unit] += squares[[p % len(squares) for p in places]].sum()
    return total
