"""Zip archives of tensors, which anybody may have made."""

from __future__ import annotations

import zipfile
from pathlib import Path


def is_archive(file: Path) -> bool:
    """Whether a file is a zip archive, damaged ones included; OSError if it cannot be read."""
    try:
        return zipfile.is_zipfile(file)
    except zipfile.BadZipFile:  # of many disks, for instance
        return True


def unpacked_bytes(file: Path) -> int:
    """Returns how long the parts of a zip archive are together, inflated; 0 for another file.

    Raises:
        OSError: if it cannot be read.
        zipfile.BadZipFile, ValueError, NotImplementedError: if it is damaged.
    """
    if not is_archive(file):
        return 0
    with zipfile.ZipFile(file) as archive:
        return sum(part.file_size for part in archive.infolist())
