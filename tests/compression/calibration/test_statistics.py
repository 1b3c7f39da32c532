from __future__ import annotations

import torch
from torch import nn

from autocomp.compression.calibration.statistics import SAMPLE, calibrate
from autocomp.network.analysis import analyse


def test_a_batch_gives_as_large_a_share_of_the_sample_as_it_has_of_the_images() -> None:
    model = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    batches = [torch.zeros(4000, 64), torch.ones(96, 64)]
    stats = calibrate(model, analyse(model, batches[0][:2]), batches)
    inputs = stats["0"].inputs
    assert inputs is not None
    assert len(inputs) <= SAMPLE + len(batches)
    assert abs(float(inputs.mean()) - 96 / 4096) < 0.002
    assert (stats["0"].minimum, stats["0"].maximum) == (0, 1)
