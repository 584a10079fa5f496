"""Files that survive: written in one step, locked by one process at a time, refused early where nothing can be written.

No function here knows what the files mean.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


def user_path(path: str | os.PathLike) -> Path:
    """A path as a person types it: ``~`` is the home directory."""
    return Path(path).expanduser()


def cache_directory() -> Path:
    """Where this user's downloads and checkpoints go: $XDG_CACHE_HOME (else ~/.cache) / deep-learning-systems-book.

    OSError if this user has no home directory; the message names XDG_CACHE_HOME.
    """
    asked = os.path.expanduser(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # the XDG base directory specification: a relative path is invalid and to be ignored
        cache = Path(asked) if os.path.isabs(asked) else Path.home() / ".cache"
    except RuntimeError as error:
        raise OSError("this user has no home directory: set XDG_CACHE_HOME to a directory for caches") from error
    return cache / "deep-learning-systems-book"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader, and no crash, ever sees a part of it: a temporary file, synced, then renamed.

    OSError if it cannot be written, a full disk included; the file is as it was and no temporary one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's is for the owner alone
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):  # name the file that was asked for, not the temporary one
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


def check_writable(name: str, directory: str | os.PathLike) -> Path:
    """Make a directory if it is missing; OSError now, not after hours, if nothing can be written there."""
    directory = user_path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OSError(
            error.errno, f"{name}: nothing can be written in {directory} ({reason}): name another directory"
        ) from error
    return directory


@contextlib.contextmanager
def lock(path: str | os.PathLike, timeout: float = 0.5) -> Iterator[bool]:
    """Whether this process got the lock within `timeout` seconds; the system frees it however the process ends.

    OSError where the file system has no locks.
    """
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path)
    try:
        held.acquire(timeout=timeout)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise OSError(
            error.errno, f"{path.parent} is on a file system without locks ({error.strerror}): use a local directory"
        ) from error
    try:
        yield True
    finally:
        held.release()
