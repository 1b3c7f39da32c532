"""An exported file against the network that it was made from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from autocomp.errors import ArtifactError
from autocomp.exporters.report import Check
from autocomp.network.device import dtype_of
from autocomp.runtime import open_session, run
from autocomp.tasks.classification import check_logits, is_right


def verify(
    path: Path,
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    threads: int = 1,
) -> Check:
    """Compares an exported file with the network that it was made from.

    Args:
        path: the file.
        network: the evaluated network, in evaluation mode, with its activation quantizers.
        batches: (images, labels), for instance `evaluate.Batches`.
        threads: of onnxruntime.

    Raises:
        ArtifactError: if the file cannot be read, or there are no images.
        ModelError: if onnxruntime cannot run it.
        DataError: if the outputs are no logits, or there is a label beyond them.
    """
    loaded = open_session(path, threads)
    n = right = network_right = same = 0
    largest = 0.0
    device, kind = _device(network), dtype_of(network)
    with torch.inference_mode():
        for images, labels in batches:
            given = images.to(device, kind) if images.is_floating_point() else images.to(device)
            expected = network(given).float().cpu()
            found = run(loaded, images)
            labels = labels.cpu()
            check_logits(found, labels)
            right += int(is_right(found, labels).sum())
            network_right += int(is_right(expected, labels).sum())
            same += int((found.argmax(1) == expected.argmax(1)).sum())
            largest = max(largest, float((found - expected).abs().max()))
            n += len(labels)
    if n == 0:
        raise ArtifactError("A check needs at least one labelled image, but got none; give data.")
    size = path.stat().st_size
    return Check(n, right / n, network_right / n, same / n, largest, size)


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))
