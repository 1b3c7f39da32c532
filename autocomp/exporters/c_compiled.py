"""A C header that was compiled here, to be compared with the network that it was made from."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autocomp.core.structured import Inputs
from autocomp.errors import ModelError
from autocomp.exporters.c_file import CHeader

_FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fPIC", "-shared")


class CompiledHeader:
    """Compiles a header that this program has just written, and runs it.

    Args:
        header: the header.

    Raises:
        ModelError: without a C compiler, or if it does not take the header.
    """

    def __init__(self, header: CHeader) -> None:
        name = header.name
        compiler = next((c for c in map(shutil.which, ("cc", "gcc", "clang")) if c), None)
        if compiler is None:
            raise ModelError(
                "Checking a C header needs a C compiler, but there is no cc, gcc or clang; install "
                "one."
            )
        upper = name.upper()
        with tempfile.TemporaryDirectory() as folder:
            source, built = Path(folder) / "model.c", Path(folder) / "model.so"
            sizes = "".join(
                f"int ac_{kind.lower()}(void) {{ return {upper}_{kind}; }}\n"
                for kind in ("INPUT", "OUTPUT")
            )
            call = f"void run(const float *x, float *y) {{ {name}_run(x, y); }}\n"
            source.write_text(f"{header.text}\n{sizes}{call}")
            done = subprocess.run(
                [compiler, *_FLAGS, "-o", str(built), str(source), "-lm"], capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                lines = done.stderr.strip().splitlines() or [""]
                told = next((line for line in lines if "error" in line), lines[0])
                raise ModelError(
                    f"The C header must compile, but {compiler} says {told[:200]!r}; report this "
                    "defect."
                )
            loaded = ctypes.CDLL(str(built))
        self._run = loaded.run
        self._run.restype = None
        self._inputs, self._outputs = loaded.ac_input(), loaded.ac_output()
        self._shape = header.output_shape

    def outputs(self, inputs: Inputs) -> Tensor:
        """Returns the outputs of a batch, `(n, *output_shape)`, one input after another."""
        if not isinstance(inputs, Tensor) or inputs[0].numel() != self._inputs:
            raise ModelError(f"The C header takes {self._inputs} floats; give inputs of that size.")
        batch = np.ascontiguousarray(inputs.detach().cpu().float().numpy())
        found = np.empty((len(batch), self._outputs), np.float32)
        pointer = ctypes.POINTER(ctypes.c_float)
        for given, made in zip(batch, found, strict=True):
            self._run(given.ctypes.data_as(pointer), made.ctypes.data_as(pointer))
        return torch.from_numpy(found).reshape(len(batch), *self._shape)
