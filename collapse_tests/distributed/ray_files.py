"""Models that only the driver's machine has: into Ray's object store, and from there to the cache of each node."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_tests.cache import atomic_directory, cache_dir, discard_abandoned, exclusive
from collapse_tests.distributed.ray_brief import FilePart, TextsFile
from collapse_tests.errors import InfrastructureError

__all__ = ["SentModel", "keep_model", "keep_texts", "send_model"]

#: Small against any object store, so that a piece or two of it are all that a transfer takes.
_PIECE = 8 * 2**20

#: Weights in other formats are never read, and may be as large as those that are.
_UNREAD = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".ckpt")


@dataclass(frozen=True, slots=True)
class SentModel:
    """A directory in the object store.

    Attributes:
        digest: of its files' names and contents.
        parts: the files, piece by piece; a file without content has one piece.
    """

    digest: str
    parts: tuple[FilePart, ...]


def send_model(directory: Path, put: Callable[[bytes], Any]) -> SentModel:
    """Put a model's files into the object store.

    Args:
        directory: of the model; hidden files and weights that are not safetensors are left out.
        put: bytes to a reference.

    Raises:
        InfrastructureError: a file cannot be read.
    """
    digest = hashlib.sha256()
    parts: list[FilePart] = []
    try:
        for path in _files(directory):
            name = path.relative_to(directory).as_posix()
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            for piece in _pieces(path):
                digest.update(piece)
                parts.append(FilePart(name, put(piece)))
    except OSError as error:
        raise InfrastructureError(f"--model {str(directory)!r} cannot be read ({error}); check its files") from None
    return SentModel(digest.hexdigest(), tuple(parts))


def keep_model(sent: SentModel, get: Callable[[Any], bytes], say: Callable[[str], None]) -> Path:
    """Write a model's files into this node's cache, unless they are there; processes of one node do it once.

    Args:
        sent: what to write.
        get: reference to bytes.
        say: gets a line if another process is at it.

    Raises:
        UsageError: there is no usable cache.
        InfrastructureError: the files cannot be written.
    """
    return _kept(sent.digest, "a model", lambda staging: _write(sent.parts, staging, get), say)


def keep_texts(texts: TextsFile) -> Path:
    """Write sentences into this node's cache, unless they are there; errors as for `keep_model`."""
    written = _kept(texts.digest, "sentences", lambda staging: (staging / texts.name).write_bytes(texts.data))
    return written / texts.name


def _kept(digest: str, what: str, write: Callable[[Path], object], say: Callable[[str], None] | None = None) -> Path:
    """The directory of this content, written if it is not there."""
    target = cache_dir() / "sent" / digest
    try:
        with exclusive(target, say):
            if not target.is_dir():
                discard_abandoned(target)
                with atomic_directory(target) as staging:
                    write(staging)
    except OSError as error:
        raise InfrastructureError(f"{what} could not be written to {target} ({error}); free some space") from error
    return target


def _files(directory: Path) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(directory, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        kept = sorted(name for name in names if not name.startswith(".") and not name.endswith(_UNREAD))
        found += [Path(folder) / name for name in kept]
    return found


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield stream.read(_PIECE)
        while piece := stream.read(_PIECE):
            yield piece


def _write(parts: Sequence[FilePart], directory: Path, get: Callable[[Any], bytes]) -> None:
    for part in parts:
        path = directory / part.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(get(part.data))
