"""Writing an exported file."""

from __future__ import annotations

from pathlib import Path

from autocomp.errors import ArtifactError
from autocomp.storage.files import write_bytes


def write_export(path: Path, data: bytes, what: str) -> None:
    """Writes a file, whole or not at all.

    Args:
        path: the file.
        data: its bytes.
        what: what it is, for the message: "The ONNX file".

    Raises:
        ArtifactError: if that fails.
    """
    try:
        write_bytes(Path(path), data)
    except OSError as error:
        raise ArtifactError(
            f"{what} must be writable, but {str(path)!r} is not ({error.strerror or error}); "
            "choose another file."
        ) from None
