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


def _preset(text: str, **parts: str) -> Factory:
    """Returns a factory of one choice of parts that has a name of its own."""
    made = partial(Criterion, **parts)
    made.__doc__ = text
    return made


CRITERIA: dict[str, Factory] = {
    "l1": _preset("Sum of a unit's absolute weights (Li et al. 2017, arXiv:1608.08710)."),
    "l2": _preset(
        "Norm of a unit's weights (Li et al. 2017, arXiv:1608.08710).",
        pointwise="identity", reduction="l2",
    ),
    "geometric-median": _preset(
        "Distance to the filters that replace it best (He et al. 2019, arXiv:1811.00250).",
        pointwise="identity", reduction="median_distance",
    ),
    "slimming": _preset(
        "Gain of the batch norm behind it (Liu et al. 2017, arXiv:1708.06519).", base="norm"
    ),
    "taylor": _preset(
        "|mean over places of a dL/da|, over the group's norm (Molchanov et al. 2017, "
        "arXiv:1611.06440).",
        base="activation", pointwise="gate", reduction="abs_sum", scaling="layer_norm",
    ),
    "taylor-weight": _preset(
        "Sum of (w dL/dw)^2 (Molchanov et al. 2019, arXiv:1906.10771).", pointwise="taylor2"
    ),
    "skeletonization": _preset(
        "Derivative of a gate on the unit, of the absolute error (Mozer and Smolensky 1988).",
        base="activation", pointwise="gate", reduction="abs_sum", loss="absolute",
    ),
    "fisher": _preset(
        "Mean squared derivative of a gate on the unit (Theis et al. 2018, arXiv:1801.05787).",
        base="activation", pointwise="gate", reduction="square_sum",
    ),
    "obd": _preset("Sum of h w^2 / 2 (LeCun et al. 1989).", pointwise="obd"),
    "activation-mean": _preset(
        "Mean absolute activation.", base="activation", pointwise="abs", reduction="mean"
    ),
    "activation-variance": _preset(
        "Variance of the activation.",
        base="activation", pointwise="identity", reduction="variance",
    ),
    "apoz": _preset(
        "1 - average percentage of zeros (Hu et al. 2016, arXiv:1607.03250).",
        base="activation", pointwise="nonzero", reduction="mean",
    ),
    "redundancy": _preset(
        "What no other unit explains (Sietsma and Dow 1991).",
        base="activation", pointwise="identity", reduction="redundancy",
    ),
    # grows from layer to layer towards the input, so it is given as multiples of the group's mean
    "nisp": _preset(
        "Importance of the responses through |W|^T (Yu et al. 2018, arXiv:1711.05908).",
        base="importance", pointwise="identity", scaling="layer_mean",
    ),
    "lrp": _preset(
        "Relevance for the true class (Yeom et al. 2021, arXiv:1912.08881).",
        base="relevance", pointwise="identity",
    ),
    "random": RandomCriterion,
    "compose": Criterion,
}  # fmt: skip
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
