"""The user's cache: where it is, and how several processes write to it without seeing each other's halves."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from collapse_tests.errors import InfrastructureError, UsageError

__all__ = [
    "CACHE_VARIABLE",
    "atomic_directory",
    "atomic_file",
    "atomic_write_text",
    "cache_dir",
    "cache_location",
    "discard_abandoned",
    "exclusive",
    "partial_sibling",
]

#: Environment variable that moves the cache.
CACHE_VARIABLE = "PYTEST_COLLAPSE_CACHE"

_PARTIAL_SUFFIX = ".partial"


def cache_location() -> Path:
    """Absolute path of the cache, without creating or writing anything: enough to read from it.

    Raises:
        UsageError: the path starts with a `~` that names nobody's home.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    try:
        if chosen:
            return Path(chosen).expanduser().absolute()
        return platformdirs.user_cache_path("pytest-collapse", appauthor=False).absolute()
    except RuntimeError as error:
        raise UsageError(_unusable(chosen or "~", str(error))) from None


def cache_dir() -> Path:
    """The cache directory, absolute, created if missing and known to be writable.

    It is `$PYTEST_COLLAPSE_CACHE`, else the platform's cache directory for `pytest-collapse`.

    Raises:
        UsageError: the path is a file or cannot be written to.
    """
    path = cache_location()
    probe = partial_sibling(path / "probe")
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Writing is the only test that holds for every user, file system and read-only mount.
        probe.touch(exist_ok=False)
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise UsageError(_unusable(path, "is a file or lies below one")) from None
    except OSError as error:
        raise UsageError(_unusable(path, f"cannot be written to ({error.strerror})")) from None
    return path


def _unusable(path: Path | str, why: str) -> str:
    origin = f"{CACHE_VARIABLE}={str(path)!r}" if os.environ.get(CACHE_VARIABLE) else f"cache directory {str(path)!r}"
    return f"{origin}: {why}; set {CACHE_VARIABLE} to a directory you may write to"


def partial_sibling(target: Path) -> Path:
    """A new hidden path beside `target`, thus on its file system, that `discard_abandoned(target)` knows."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}{_PARTIAL_SUFFIX}")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a new path beside `path`; the file written there takes its place when the `with` block ends.

    Readers see the old content or all of the new, never a part. Missing parent directories are made.

    Raises:
        OSError: it cannot be written; `path` is then as it was, as it is when the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_sibling(path)
    try:
        yield partial
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def atomic_write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`; see `atomic_file`.

    Raises:
        OSError: it cannot be written; `path` is then as it was.
    """
    with atomic_file(path) as partial, partial.open("xb") as stream:
        stream.write(text.encode("utf-8"))


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """Yield a new directory beside `target` that takes its place when the block succeeds.

    Whatever `target` was before is replaced. If the block raises, an interrupt included, the new directory is
    removed and `target` stays as it was. Two writers of one target need `exclusive(target)` around this.

    Raises:
        OSError: a directory cannot be made or renamed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = partial_sibling(target)
    staging.mkdir()
    try:
        yield staging
        _move_into_place(staging, target)
    except BaseException:
        _remove(staging)
        raise


def _move_into_place(staging: Path, target: Path) -> None:
    if not os.path.lexists(target):
        staging.rename(target)
        return
    # No portable call swaps directories, so the old one steps aside first and comes back if the new one cannot.
    aside = partial_sibling(target)
    target.rename(aside)
    try:
        staging.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    _remove(aside)


def discard_abandoned(target: Path) -> None:
    """Remove what killed processes left beside `target`.

    Call it only while holding `exclusive(target)`, or it takes away what another process is writing.
    """
    if not target.parent.is_dir():
        return
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{32}}{re.escape(_PARTIAL_SUFFIX)}")
    for path in list(target.parent.iterdir()):
        if pattern.fullmatch(path.name):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of the cache entry `path`: the file `<path>.lock` beside it.

    Other processes wait without limit. The system frees the lock of a process that dies.

    Args:
        path: the entry; it need not exist.
        say: gets one line if another process holds the lock, so that a wait never looks like a hang.

    Raises:
        InfrastructureError: the file system has no locks.
        OSError: the lock file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if say is not None:
                say(f"waiting for another process that is preparing {path}")
            lock.acquire(timeout=-1)
    except NotImplementedError:
        raise InfrastructureError(
            f"the file system of {path.parent} has no file locks; set {CACHE_VARIABLE} to a directory on a local disk"
        ) from None
    try:
        yield
    finally:
        lock.release()
