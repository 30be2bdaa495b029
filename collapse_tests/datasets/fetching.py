"""Published sets in the cache: fetched once, checked at every use, adopted from a file where they have no address."""

from __future__ import annotations

import difflib
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from collapse_tests import cache as user_cache
from collapse_tests.datasets.catalogue import CATALOGUE, Kind, Published
from collapse_tests.datasets.downloading import DownloadError, ResumingDownloader
from collapse_tests.datasets.reading import decode_text
from collapse_tests.datasets.screening import screen
from collapse_tests.datasets.texts import TextFile
from collapse_tests.errors import CollapseError, InfrastructureError, UsageError
from collapse_tests.network import is_offline, mirrors
from collapse_tests.wording import counted

__all__ = ["adopt_file", "cached_path", "published", "published_file", "state_of"]

_FOLDER = "data"


def published(name: str) -> Published:
    """The catalogue's entry.

    Raises:
        UsageError: there is none.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f"did you mean {close[0]!r}? Give" if close else "give"
    raise UsageError(f"{name!r} is no published set; {hint} one of {', '.join(CATALOGUE)}")


def published_file(name: str, say: Callable[[str], None] | None = None) -> Path:
    """The file of a published set, fetched into the cache first if it is not there as it should be.

    A cached file is found without network and without writing. Processes that start at once fetch it once.

    Args:
        name: of the set.
        say: gets a line per step that takes time; the standard error by default. None for a cached file.

    Raises:
        UsageError: there is no such set; it is not in the cache, and has no address or must not be fetched.
        InfrastructureError: no address has it, or what came is not it.
    """
    entry = published(name)
    path = cached_path(entry)
    try:
        fault = _fault(entry, path)
        if fault is not None:
            _replace(entry, fault, path, say or _to_standard_error)
    except OSError as error:
        raise InfrastructureError(
            f"cannot keep published set {name!r} in {path.parent}: {error}; free some space, "
            f"or set {user_cache.CACHE_VARIABLE} to another directory"
        ) from error
    return path


def adopt_file(name: str, source: Path, say: Callable[[str], None]) -> Path:
    """Copy a file that was fetched by hand into the cache, checked as a download is.

    Args:
        name: of the published set that it holds.
        source: the file.
        say: gets a line on what is unusual about it.

    Raises:
        UsageError: there is no such set, or `source` is not its file.
        InfrastructureError: it cannot be copied.
    """
    entry = published(name)
    if source.is_dir():
        raise UsageError(f"--from {str(source)!r} is a directory; give the file of {name} in it")
    if not source.is_file():
        raise UsageError(f"--from {str(source)!r} is no file; give the file of {name}")
    path = cached_path(entry)
    user_cache.cache_dir()
    try:
        with user_cache.exclusive(path, say), user_cache.atomic_file(path) as copy:
            shutil.copyfile(source, copy)
            _verify(entry, path, copy, say)
            _record(entry, path, copy)
    except DownloadError as error:
        raise UsageError(f"--from {str(source)!r} {error}; give the file of {name} from {entry.page}") from None
    except OSError as error:
        raise InfrastructureError(f"cannot copy {str(source)!r} to {path}: {error}") from error
    return path


def state_of(entry: Published) -> str:
    """Whether the file of a set is `cached`, `damaged`, `unreadable`, `not fetched`, or to be had `by hand` only."""
    path = cached_path(entry)
    try:
        if _fault(entry, path) is None:
            return "cached"
        if path.exists():
            return "damaged"
    except OSError:
        return "unreadable"
    return "not fetched" if _addresses(entry) else "by hand"


def cached_path(entry: Published) -> Path:
    """Where the file of a set is or would be.

    Raises:
        UsageError: the cache has no place.
    """
    return user_cache.cache_location() / _FOLDER / entry.file_name


def _fault(entry: Published, path: Path) -> str | None:
    """What is wrong with the cached file, said of the set; None if nothing."""
    if not path.is_file():
        return "is not in the cache"
    expected = entry.sha256 or _recorded(path)
    if expected is None:
        return f"is in the cache without its checksum ({path})"
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"is damaged in the cache ({path} has {size:,} bytes instead of {entry.size:,})"
    actual = _digest(path)
    if actual != expected:
        return f"is damaged in the cache ({path} has SHA-256 {actual} instead of {expected})"
    return None


def _replace(entry: Published, fault: str, path: Path, say: Callable[[str], None]) -> None:
    """Fetch the file, unless another process has meanwhile."""
    addresses = _addresses(entry)
    if is_offline():
        raise UsageError(f"published set {entry.name!r} {fault} and must not be fetched offline; {_by_hand(entry)}")
    if not addresses:
        raise UsageError(f"published set {entry.name!r} {fault} and has no address of its own; {_by_hand(entry)}")
    user_cache.cache_dir()
    with user_cache.exclusive(path, say):
        if _fault(entry, path) is not None:
            _fetch(entry, addresses, path, say)


def _fetch(entry: Published, addresses: list[str], path: Path, say: Callable[[str], None]) -> None:
    """Put the file in place from the first address that has it; the caller holds its lock."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # it would say what `say` says
    partial = path.with_name(f".{path.name}.part")
    if entry.sha256 is None:
        path.unlink(missing_ok=True)  # or else pooch, which cannot know its checksum, takes it for the right one
    downloader = ResumingDownloader(partial, entry.size, lambda file: _verify(entry, path, file, say), say)
    size = "" if entry.size is None else f", {entry.size / 1e6:.1f} MB"
    problems = []
    for url in addresses:
        say(f"fetching {entry.name}, once: {url}{size}")
        try:
            pooch.retrieve(url, entry.sha256, fname=path.name, path=path.parent, downloader=downloader)
        except DownloadError as error:
            problems.append(f"{url}: {error}")
        else:
            _record(entry, path, path)
            say(f"{entry.name} is in {path}")
            return
    raise InfrastructureError(
        f"published set {entry.name!r} could not be fetched ({'; '.join(problems)}); {_by_hand(entry)}"
    )


def _verify(entry: Published, path: Path, file: Path, say: Callable[[str], None]) -> None:
    """Raise `DownloadError` unless `file` is what belongs at `path`; the message begins with a verb."""
    if _is_page(file):
        raise DownloadError("is not the expected file: it is a web page, as servers send to report or to ask something")
    size = file.stat().st_size
    if entry.size is not None and size < entry.size:
        raise DownloadError(f"is truncated: it has {size:,} of {entry.size:,} bytes")
    if entry.size is not None and size > entry.size:
        raise DownloadError(f"is not the expected file: it has {size:,} bytes instead of {entry.size:,}")
    expected, actual = entry.sha256 or _recorded(path), _digest(file)
    if expected is not None and actual != expected:
        known = "" if entry.sha256 else f", as it was at first; remove {_record_of(path)} to accept another"
        raise DownloadError(f"is not the expected file: SHA-256 {actual} instead of {expected}{known}")
    if entry.sha256 is None:
        _verify_records(entry, file, say)


def _verify_records(entry: Published, file: Path, say: Callable[[str], None]) -> None:
    """What can be known of a file without a checksum: that it parses, and how many records it holds."""
    data = file.read_bytes()
    try:
        if entry.kind is Kind.REQUESTS:
            found = screen(decode_text(data, "it"), "it", stem=entry.name, lines=False)
            good, broken = len(found.requests), len(found.broken)
        else:
            sentences, faults = TextFile("it", data, lines=False).screened()
            good, broken = len(sentences), len(faults)
    except CollapseError as error:
        raise DownloadError(f"is not the expected file: {error}") from None
    if not good:
        raise DownloadError("is not the expected file: no record of it is usable")
    if good + broken != entry.records:
        problem = f"{counted(good + broken, 'record')} instead of {entry.records:,}"
        if entry.url is not None:
            raise DownloadError(f"is not the expected file: it has {problem}")
        # How its authors cut the files of a folder is not known; a person chose this one.
        say(f"warning: this file of {entry.name} has {problem}; it is used as it is")


def _is_page(file: Path) -> bool:
    """Whether a file that should be JSON is HTML, which networks with a sign-in send in place of anything."""
    with file.open("rb") as stream:
        return stream.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def _addresses(entry: Published) -> list[str]:
    own = [] if entry.url is None else [entry.url]
    return [f"{base}/{entry.file_name}" for base in mirrors()] + own


def _by_hand(entry: Published) -> str:
    option = "--edits" if entry.kind is Kind.REQUESTS else "--ppl-texts"
    where = entry.url or entry.page
    fetch = f"collapse-data fetch {entry.name} --from FILE"
    return f"download it from {where} by hand and run `{fetch}`, or give FILE to {option}"


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _record(entry: Published, path: Path, file: Path) -> None:
    """Write down the checksum of `file`, which is or will be at `path`, where the catalogue knows none."""
    if entry.sha256 is None:
        user_cache.atomic_write_text(_record_of(path), f"{_digest(file)}  {path.name}\n")


def _recorded(path: Path) -> str | None:
    """The checksum that was written down for `path`."""
    try:
        words = _record_of(path).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return None
    return words[0] if words else None


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _to_standard_error(line: str) -> None:
    print(f"collapse: {line}", file=sys.stderr, flush=True)
