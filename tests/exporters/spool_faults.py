"""A disk that is full."""

import errno
import os
from typing import Any

import pytest


def fill_disk(patch: pytest.MonkeyPatch, *, part: bool) -> None:
    """Have the disk take no new file and no more bytes; what has its place in a file can be changed.

    Args:
        patch: until it is undone.
        part: whether a write is cut short, as the first one on a full disk is, or refused.
    """
    really_open, really_write = os.open, os.write

    def open_(path: os.PathLike[str], flags: int, *others: Any, **named: Any) -> int:
        if flags & os.O_CREAT and not os.path.lexists(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_open(path, flags, *others, **named)

    def write(descriptor: int, data: bytes) -> int:
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_write(descriptor, data[: len(data) // 2])

    patch.setattr(os, "open", open_)
    patch.setattr(os, "write", write)
