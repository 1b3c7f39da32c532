"""Reading files that anybody may have put there: a link to a device never ends."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

LARGEST = 1 << 36
"""Bytes of a file that is read at once."""


def read_whole(path: Path, most: int = LARGEST) -> bytes:
    """Returns the bytes of a regular file.

    Raises:
        OSError: if it cannot be read, is a device, a pipe or a folder, or longer than `most`.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is a device or a pipe", str(path))
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"is longer than {most} bytes", str(path))
    with path.open("rb") as file:
        return file.read(found.st_size)
