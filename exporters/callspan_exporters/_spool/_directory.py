"""Where the spool is, and whose: one root directory, in it one directory per process, locked while that one lives."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from callspan_exporters.environment_variables import CALLSPAN_SPOOL_DIR

LOCK: Final = "lock"
SEGMENT_SUFFIX: Final = ".segment"
_PROCESS: Final = re.compile(r"[0-9a-f]{16}-[0-9]+-[0-9a-f]{8}")
_NEWBORN_PREFIX: Final = ".new-"
_NEWBORN_MAX_AGE_S: Final = 60.0
_OWNER_ONLY: Final = 0o700
_OTHERS_WRITE: Final = 0o022
_OUR_FILES: Final = frozenset({"ledger", "rejected"})
_ROOT_UID: Final = 0
# What goes by, and says nothing of the file: without descriptors or memory, a spool must not look empty.
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})


class UnsafeSpoolError(OSError):
    """The spool's directory cannot be trusted with what spans may hold."""


def spool_directory() -> Path:
    """Return where the spool is, by ``CALLSPAN_SPOOL_DIR`` or the XDG base directory specification.

    It need not exist. See https://specifications.freedesktop.org/basedir/latest/.

    Raises:
        RuntimeError: neither variable is set and the user has no home directory.
    """
    if chosen := os.environ.get(CALLSPAN_SPOOL_DIR):
        return Path(chosen).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME", "")
    # The specification has relative paths ignored.
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "callspan" / "spool"


def open_root(root: Path) -> None:
    """Make the spool's root directory where it is missing, and make sure that it is ours alone.

    One that holds other things stays as it is: what we put there is closed to others by itself.

    Raises:
        UnsafeSpoolError: it is no directory, or somebody else's, or somebody else's link leads to it, or it holds other
            things and others may put theirs there.
        OSError: it cannot be made.
    """
    _make_parents(root.parent)
    with contextlib.suppress(FileExistsError):
        make_directory(root)
    status = root.lstat()
    if stat.S_ISLNK(status.st_mode):
        if status.st_uid not in (os.geteuid(), _ROOT_UID):
            raise UnsafeSpoolError(f"{root} is a symbolic link of another user (uid {status.st_uid})")
        status = root.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeSpoolError(f"{root} is not a directory")
    if status.st_uid != os.geteuid():
        raise UnsafeSpoolError(f"{root} belongs to another user (uid {status.st_uid})")
    if stat.S_IMODE(status.st_mode) == _OWNER_ONLY:
        return
    if all(map(_is_ours, names_in(root))):
        root.chmod(_OWNER_ONLY)
    elif status.st_mode & _OTHERS_WRITE:
        raise UnsafeSpoolError(f"others may write to {root}, which holds other things: give the spool one of its own")


def _is_ours(name: str) -> bool:
    return bool(_PROCESS.fullmatch(name.removeprefix(_NEWBORN_PREFIX))) or name.partition(".")[0] in _OUR_FILES


def _make_parents(path: Path) -> None:
    """Make the directories above the spool where they are missing, for their owner only.

    With a loose umask others could otherwise put a directory of theirs in the spool's place.
    """
    if not path.exists():
        _make_parents(path.parent)
        with contextlib.suppress(FileExistsError):
            make_directory(path)


def make_directory(path: Path) -> None:
    """Make a directory for its owner only, whatever the umask.

    Raises:
        OSError: it exists, or cannot be made.
    """
    path.mkdir(_OWNER_ONLY)
    path.chmod(_OWNER_ONLY)  # a umask may have taken the owner's bits as well


def open_private(path: Path, flags: int) -> int:
    """Open a file for its owner only, not inherited by programs that are started, and through no link.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if flags & os.O_CREAT:
        os.fchmod(descriptor, 0o600)
    return descriptor


def sync(directory: Path) -> None:
    """Have the names in a directory survive the loss of power.

    Raises:
        OSError: the disk cannot.
    """
    descriptor = open_private(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def new_process_directory(root: Path) -> tuple[Path, Path, int]:
    """Make a locked directory for this process under a temporary name, so that nobody adopts it half made.

    Returns:
        Where it is, what to rename it to once it is complete, and the descriptor that holds its lock.

    Raises:
        OSError: it cannot be made.
    """
    name = f"{time.time_ns():016x}-{os.getpid()}-{secrets.token_hex(4)}"
    newborn = root / (_NEWBORN_PREFIX + name)
    make_directory(newborn)
    lock = open_private(newborn / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return newborn, root / name, lock


@contextlib.contextmanager
def passed_over() -> Generator[None, None, None]:
    """Pass over a file or directory that is gone, closed to us or damaged.

    Raises:
        OSError: only for now: this process is short of descriptors or memory.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _PASSING:
            raise


def names_in(directory: Path) -> list[str]:
    """Return what a directory holds, nothing where it is gone or closed to us.

    Raises:
        OSError: it cannot be read for now.
    """
    with passed_over():
        return [path.name for path in directory.iterdir()]
    return []


def process_directories(root: Path) -> list[Path]:
    """Return the directories of processes, dead and alive, oldest first. What is not ours in there is passed over."""
    return [root / name for name in sorted(names_in(root)) if _PROCESS.fullmatch(name)]


def began_ns(directory: Path) -> int:
    """Return when a process made its directory, nanoseconds since the epoch."""
    return int(directory.name.partition("-")[0], 16)


def segment_numbers(directory: Path) -> list[int]:
    """Return the numbers of the segments in a process's directory, oldest first."""
    names = names_in(directory)
    stems = (name.removesuffix(SEGMENT_SUFFIX) for name in names if name.endswith(SEGMENT_SUFFIX))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def segment_path(directory: Path, number: int) -> Path:
    """Return where a segment is."""
    return directory / f"{number:08d}{SEGMENT_SUFFIX}"


def try_lock(directory: Path) -> int | None:
    """Take over the directory of a process that is dead.

    Returns:
        The descriptor that holds the lock, None where the process lives or somebody else was quicker.
    """
    try:
        lock = open_private(directory / LOCK, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who locked it before may have removed it, and its lock file with it.
        if os.fstat(lock).st_ino == (directory / LOCK).stat().st_ino:
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def is_live(directory: Path) -> bool:
    """Tell whether a process holds a directory: the one whose it is, or one that has taken it over."""
    try:
        lock = open_private(directory / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_UN)  # said, not left to the closing: a child forked meanwhile has it as well
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def remove(directory: Path) -> None:
    """Remove a process's directory that we hold the lock of, in one step for everyone who looks.

    Not without its account: see `_ledger.retire`.
    """
    grave = directory.with_name(_NEWBORN_PREFIX + directory.name.removeprefix(_NEWBORN_PREFIX))
    with contextlib.suppress(OSError):
        directory.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)


def remove_half_made(root: Path) -> None:
    """Remove what processes left that died while they made or removed their directory.

    A young one is not touched: its maker may be about to lock it, and would find it locked.
    """
    for directory in _half_made(root):
        try:
            age_s = time.time() - directory.lstat().st_mtime
        except OSError:
            continue
        if age_s < _NEWBORN_MAX_AGE_S:
            continue
        lock = try_lock(directory)
        if lock is not None or not os.path.lexists(directory / LOCK):
            shutil.rmtree(directory, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _half_made(root: Path) -> Iterator[Path]:
    for name in names_in(root):
        if name.startswith(_NEWBORN_PREFIX) and _PROCESS.fullmatch(name.removeprefix(_NEWBORN_PREFIX)):
            yield root / name
