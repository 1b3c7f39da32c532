"""`data="none"`: a search on inputs that are made out of the network itself."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from autocomp.api.inputs import example_for
from autocomp.core.stage import OnStage, untold
from autocomp.core.structured import Structured
from autocomp.data import DataSplits
from autocomp.errors import DataError, unknown
from autocomp.models import MODELS, noted_source
from autocomp.plugins.spec import parse_spec
from autocomp.training.synthetic import synthetic_splits

NAME = "none"


def is_without_data(data: object) -> bool:
    """Whether a setting asks for a search without data: "none", or "none:OPTION=VALUE,..."."""
    return isinstance(data, str) and data.partition(":")[0] == NAME


def data_without_data(data: str, network: nn.Module, on_stage: OnStage = untold) -> DataSplits:
    """Returns splits of made-up inputs, see `synthetic_splits`.

    Args:
        data: "none", or "none:shape=3x224x224,calibration=256,steps=200,targets=dirichlet".
        network: the trained network.
        on_stage: told how far it is.

    Raises:
        DataError: for an unknown option, or if the shape of an input is not known.
        TrainingError: if the network has neither batch norms nor classes.
    """
    options = parse_spec(data)[1]
    known = [p for p in inspect.signature(synthetic_splits).parameters if p not in _OWN]
    for name, value in options.items():
        if name != "shape" and name not in known:
            raise DataError(unknown("option of data without data", name, ["shape", *known]))
        number = isinstance(value, int) and not isinstance(value, bool)
        if name not in ("shape", "targets") and (not number or value < 2):
            raise DataError(f"`{name}` must be a whole number of at least 2, but got {value!r}.")
    shape = _shape(str(options.pop("shape", "")), network)
    given: dict[str, Any] = dict(options)
    return synthetic_splits(network, shape, on_stage=on_stage, **given)


_OWN = ("network", "shape", "on_stage")


def _shape(text: str, network: nn.Module) -> tuple[int, ...]:
    source = noted_source(network)
    if not text and (source is None or source.name not in MODELS):
        raise DataError(
            "A search without data must know the shape of an input; write data=none:shape=3x32x32."
        )
    example = example_for(network, None if text else _built_in(source), text)
    if isinstance(example, Structured) or not example.is_floating_point():
        raise DataError(
            "A search without data makes one input of floating-point numbers, but the network "
            "takes something else; give data."
        )
    return tuple(example.shape[1:])


def _built_in(source: Any) -> str | None:
    """Returns the data set that says the shape of a built-in network's inputs."""
    return "digits" if source is not None and source.name == "digits" else None
