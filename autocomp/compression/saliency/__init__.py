"""Saliency: what a channel, head, neuron or weight is worth to its network.

To add a criterion, implement `Saliency` and register it in `CRITERIA`, or under the entry-point
group `autocomp.criteria` of another package.
"""

from __future__ import annotations

from functools import partial

from autocomp.compression.saliency.base import CriterionError, Saliency
from autocomp.compression.saliency.criterion import Criterion
from autocomp.compression.saliency.loss import Batch
from autocomp.compression.saliency.random_scores import RandomCriterion
from autocomp.compression.saliency.unstructured import WEIGHT_CRITERIA, lamp, weight_scores
from autocomp.plugins.registry import Factory, find, names
from autocomp.plugins.spec import construct, parse_spec

_SEEN = {"base": "activation"}

CRITERIA: dict[str, Factory] = {
    # sums and norms of the filters (Li et al. 2017, arXiv:1608.08710)
    "l1": partial(Criterion),
    "l2": partial(Criterion, pointwise="identity", reduction="l2"),
    # filters that the others replace best (He et al. 2019, arXiv:1811.00250)
    "geometric-median": partial(Criterion, pointwise="identity", reduction="median_distance"),
    # gains of batch norms (Liu et al. 2017, arXiv:1708.06519)
    "slimming": partial(Criterion, base="norm"),
    # |mean over places of a dL/da|, over the group's norm (Molchanov et al. 2017, arXiv:1611.06440)
    "taylor": partial(
        Criterion, **_SEEN, pointwise="gate", reduction="abs_sum", scaling="layer_norm"
    ),
    # sum of (w dL/dw)^2 (Molchanov et al. 2019, arXiv:1906.10771)
    "taylor-weight": partial(Criterion, pointwise="taylor2"),
    # derivative of a gate on the unit, of the absolute error (Mozer and Smolensky 1988)
    "skeletonization": partial(
        Criterion, **_SEEN, pointwise="gate", reduction="abs_sum", loss="absolute"
    ),
    # mean squared derivative of a gate on the unit (Theis et al. 2018, arXiv:1801.05787)
    "fisher": partial(Criterion, **_SEEN, pointwise="gate", reduction="square_sum"),
    # sum of h w^2 / 2 (LeCun et al. 1989)
    "obd": partial(Criterion, pointwise="obd"),
    "activation-mean": partial(Criterion, **_SEEN, pointwise="abs", reduction="mean"),
    "activation-variance": partial(Criterion, **_SEEN, pointwise="identity", reduction="variance"),
    # 1 - average percentage of zeros (Hu et al. 2016, arXiv:1607.03250)
    "apoz": partial(Criterion, **_SEEN, pointwise="nonzero", reduction="mean"),
    # what no other unit explains (Sietsma and Dow 1991)
    "redundancy": partial(Criterion, **_SEEN, pointwise="identity", reduction="redundancy"),
    # importance of the responses through |W|^T (Yu et al. 2018, arXiv:1711.05908); it grows from
    # layer to layer towards the input, so it is given as multiples of the group's mean
    "nisp": partial(Criterion, base="importance", pointwise="identity", scaling="layer_mean"),
    # relevance for the true class (Yeom et al. 2021, arXiv:1912.08881)
    "lrp": partial(Criterion, base="relevance", pointwise="identity"),
    "random": RandomCriterion,
    "compose": Criterion,
}
GROUP = "autocomp.criteria"


def make_criterion(spec: str) -> Saliency:
    """Returns the criterion that `spec` names.

    `l1` is a name; `l1:scaling=size` changes a part of it;
    `compose:base=activation,pointwise=taylor,reduction=sum,scaling=layer_norm` puts one together.

    Raises:
        UnknownNameError: if there is no such criterion or part.
        CriterionError: if parts do not fit together, or an option does not exist.
    """
    name, options = parse_spec(spec)
    factory = find("criterion", name, CRITERIA, GROUP)
    made: Saliency = construct("criterion", name, factory, options, CriterionError)
    return made


def criterion_names() -> list[str]:
    """Returns the names that `make_criterion` knows: the built-in ones, then the plug-ins."""
    return names(CRITERIA, GROUP)


__all__ = [
    "CRITERIA",
    "GROUP",
    "WEIGHT_CRITERIA",
    "Batch",
    "Criterion",
    "CriterionError",
    "RandomCriterion",
    "Saliency",
    "criterion_names",
    "lamp",
    "make_criterion",
    "weight_scores",
]
