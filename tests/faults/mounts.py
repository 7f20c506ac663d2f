"""File systems of the tests' own, for those who may mount some."""

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@functools.cache
def can_mount() -> bool:
    """Tells whether this user can mount file systems, also of a file."""
    if shutil.which("mkfs.ext4") is None or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as directory:
        try:
            with ext4(Path(directory, "mounted"), Path(directory, "image")):
                return True
        except subprocess.CalledProcessError:
            return False


@contextmanager
def small_tmpfs(directory: Path) -> Iterator[None]:
    """Mounts a file system of one megabyte."""
    directory.mkdir(mode=0o700)
    _do("mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", directory)
    try:
        yield
    finally:
        _do("umount", "-l", directory)


@contextmanager
def ext4(directory: Path, image: Path) -> Iterator[None]:
    """Mounts a file system which is in a file."""
    directory.mkdir(mode=0o700)
    with image.open("wb") as file:
        file.truncate(16 << 20)
    _do("mkfs.ext4", "-q", image)
    _do("mount", "-o", "loop", image, directory)
    try:
        yield
    finally:
        _do("umount", "-l", directory)


def turn_read_only(directory: Path) -> None:
    """Has the kernel treat a mounted ext4 as after an error on the disk: open files, too, take nothing more."""
    _do("mount", "-o", "remount,abort", directory)


def _do(*command: str | Path) -> None:
    subprocess.run(command, capture_output=True, check=True)
