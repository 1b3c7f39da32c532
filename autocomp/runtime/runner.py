"""A network in onnxruntime that only has to be called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from autocomp.errors import ModelError
from autocomp.plugins.imports import describe
from autocomp.runtime.session import open_session


class Runner:
    """A network in onnxruntime, bound to its inputs and ready to be called: what is timed.

    Args:
        model: an ONNX file or its bytes.
        threads: threads within an operator, at least 1; operators run one after the other.
        *examples: its inputs, in their order.

    Raises:
        ModelError: if a library is missing, `threads` is below 1, or onnxruntime cannot run the
            model on this input.
        ArtifactError: if it is no ONNX model.
    """

    def __init__(self, model: bytes | Path, threads: int, *examples: npt.NDArray[Any]) -> None:
        self._session = open_session(model, threads)
        try:
            self._binding = self._session.io_binding()
            for given, example in zip(self._session.get_inputs(), examples, strict=True):
                self._binding.bind_cpu_input(given.name, example)
            for output in self._session.get_outputs():
                self._binding.bind_output(output.name)
            self()
        except Exception as error:  # onnxruntime has a class an error code, below Exception
            shapes = ", ".join(str(example.shape) for example in examples)
            raise ModelError(
                f"onnxruntime must run the network on an input of shape {shapes}, but "
                f"raised {describe(error)}; give one that it accepts."
            ) from error

    def __call__(self) -> None:
        """Runs the network once."""
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> list[npt.NDArray[Any]]:
        """Returns what the latest call gave."""
        arrays: list[npt.NDArray[Any]] = self._binding.copy_outputs_to_cpu()
        return arrays
