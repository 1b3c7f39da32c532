"""Made-up inputs as the splits of a search, labelled by the network itself."""

from __future__ import annotations

import torch
from torch import nn

from autocomp.core.stage import OnStage, untold
from autocomp.data.split import Split
from autocomp.data.splits import DataSplits
from autocomp.errors import DataError
from autocomp.network.modes import evaluation_mode
from autocomp.training.synthetic.inputs import synthetic_inputs

_BATCH = 256


def synthetic_splits(
    network: nn.Module,
    shape: tuple[int, ...],
    calibration: int = 256,
    search: int = 256,
    test: int = 256,
    steps: int = 200,
    targets: str = "classes",
    seed: int = 0,
    on_stage: OnStage = untold,
) -> DataSplits:
    """Returns splits without data: a figure on them is the agreement with the dense network.

    Labels are the classes that the network itself gives. It trains on the inputs of calibration and
    search; those of test are used by nothing else.

    Args:
        network: a classifier with batch norms; it is not changed.
        shape: of one input.
        calibration: inputs to calibrate on.
        search: inputs to judge plans on.
        test: inputs for the last figure.
        steps: of the optimizer that makes them.
        targets: what the network is to answer on them: "classes", "dirichlet" or "none".
        seed: of everything.
        on_stage: told how far it is.

    Raises:
        TrainingError: if the network has no batch norms and answers no classes.
        DataError: if it returns no logits of classes.
    """
    sizes = (calibration, search, test)
    made = synthetic_inputs(network, shape, sum(sizes), steps, targets, seed, on_stage)
    with torch.inference_mode(), evaluation_mode(network):
        parts = [network(part) for part in torch.split(made.inputs, _BATCH)]
    if not all(isinstance(part, torch.Tensor) and part.dim() == 2 for part in parts):
        raise DataError(
            "A search without data labels inputs by the network's classes, (n, classes), but it "
            "returns something else; give data."
        )
    labels = torch.cat(parts).argmax(1)
    classes = parts[0].shape[1]
    told = f"made of batch norms, gap {made.gap:.3g} (noise {made.noise_gap:.3g})"
    names = ("calibration", "search", "test")
    inputs, answers = torch.split(made.inputs, list(sizes)), torch.split(labels, list(sizes))
    found = {
        name: Split.of(x.clone(), y.clone(), f"{name} without data, {told}")
        for name, x, y in zip(names, inputs, answers, strict=True)
    }
    n = calibration + search
    train = Split.of(made.inputs[:n].clone(), labels[:n].clone(), f"train without data, {told}")
    return DataSplits("none", found["calibration"], found["search"], found["test"], classes, train)
