"""What a process counts besides the spans on its disk: numbers that survive its death, as the segments do."""

import os
import struct
from pathlib import Path
from typing import Final

from callspan_exporters._spool._directory import open_private, passed_over

FILE: Final = "tally"
_NUMBER: Final = struct.Struct("<Q")

IN_MEMORY: Final = "in memory"
"""Spans that were accepted into memory, since the disk refused them. Not a reason to drop one."""

UNSTORABLE: Final = "could not be stored"
"""Why a span was dropped: something in it, or in this library, made storing it fail."""

AFTER_SHUTDOWN: Final = "ended after shutdown"
"""Why a span was dropped: nothing is sent any more, and there is no disk to keep it on."""

_PLACES: Final = (IN_MEMORY, UNSTORABLE, AFTER_SHUTDOWN)
REASONS: Final = _PLACES[1:]


class Tally:
    """A process's numbers, in its own memory and, from when it has a directory, in a file there."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = dict.fromkeys(_PLACES, 0)
        self._descriptor = -1

    def __getitem__(self, name: str) -> int:
        return self._numbers[name]

    def drops(self) -> dict[str, int]:
        """Return how many spans were dropped, by reason."""
        return {reason: self._numbers[reason] for reason in REASONS}

    @property
    def dropped(self) -> int:
        """How many spans were dropped, for whatever reason."""
        return sum(self._numbers[reason] for reason in REASONS)

    def create(self, directory: Path) -> None:
        """Begin a file with the numbers as they are.

        Raises:
            OSError: it cannot be written.
        """
        self.close()
        self._descriptor = open_private(directory / FILE, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.pwrite(self._descriptor, b"".join(map(_NUMBER.pack, self._numbers.values())), 0)

    def add(self, name: str, count: int = 1) -> None:
        """Count. The file, too, where there is one and it can be written."""
        number = self._numbers[name] = self._numbers[name] + count
        if self._descriptor >= 0:
            try:
                # Eight bytes that have their place already: no full disk and no death of the process tears them.
                os.pwrite(self._descriptor, _NUMBER.pack(number), _PLACES.index(name) * _NUMBER.size)
            except OSError:
                return

    def close(self) -> None:
        """Close the file; the numbers go on."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def read_tally(directory: Path) -> dict[str, int]:
    """Return a process's numbers, zeros where there is no file or it is cut off.

    Raises:
        OSError: they cannot be read for now.
    """
    data = b""
    with passed_over():
        data = (directory / FILE).read_bytes()
    data = data.ljust(len(_PLACES) * _NUMBER.size, b"\0")
    return {name: _NUMBER.unpack_from(data, place * _NUMBER.size)[0] for place, name in enumerate(_PLACES)}
