"""The optional libraries: onnx, onnxruntime, onnxscript."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from autocomp.errors import ModelError
from autocomp.plugins.imports import optional_import

EXTRA = "onnx"
"""The extra of this package that installs them."""


def is_available() -> bool:
    """Says whether onnx and onnxruntime are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def library(name: str) -> ModuleType:
    """Returns onnx, onnxruntime or onnxscript; ModelError that names the extra without it."""
    return optional_import(name, EXTRA, ModelError)
