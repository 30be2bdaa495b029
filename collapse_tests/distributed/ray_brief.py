"""What the driver of a run on Ray and its workers tell each other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from collapse_tests.datasets.catalogue import CATALOGUE
from collapse_tests.datasets.texts import SHIPPED_TEXTS
from collapse_tests.errors import CollapseError, ErrorKind, InfrastructureError, UsageError, kind_of
from collapse_tests.models.specs import KNOWN_MODELS
from collapse_tests.settings import Settings

__all__ = ["FACTORY_VARIABLE", "GATE", "Brief", "FilePart", "Reply", "TextsFile", "brief_of", "local_models"]

#: Environment variable with `module:attribute` of what stands in for the gate on workers, for tests and benchmarks.
FACTORY_VARIABLE = "PYTEST_COLLAPSE_RAY_GATE"
GATE = "collapse_tests.engine.gate:Gate"


@dataclass(frozen=True, slots=True)
class TextsFile:
    """A file of sentences of the user's.

    Attributes:
        name: without directories.
        data: content.
    """

    name: str
    data: bytes

    @property
    def digest(self) -> str:
        """Of name and content."""
        return hashlib.sha256(self.name.encode() + b"\0" + self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Brief:
    """What a run is about, as workers have to know it.

    Attributes:
        settings: of the run.
        factory: `module:attribute` of what makes the gate.
        cpus: threads that a worker computes with, on a CPU.
        texts: the sentences, where they are a file of the user's.
        models: names of models that are directories of the driver's machine.
    """

    settings: Settings
    factory: str
    cpus: int
    texts: TextsFile | None
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FilePart:
    """A piece of a file that goes through the object store.

    Attributes:
        path: of the file, relative, with slashes.
        data: reference to the piece; those of a file are in order.
    """

    path: str
    data: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker answers.

    Attributes:
        value: what was asked for; None where that failed.
        lines: said meanwhile, for the user.
        device: what the worker computes on, as soon as that is known.
        error: whose fault the failure is, and what it says.
    """

    value: Any
    lines: tuple[str, ...] = ()
    device: Mapping[str, str] | None = None
    error: tuple[ErrorKind, str] | None = None

    def result(self) -> Any:
        """The value.

        Raises:
            CollapseError: it failed.
        """
        if self.error is None:
            return self.value
        kind, message = self.error
        raise (UsageError if kind is ErrorKind.USAGE else InfrastructureError)(message)

    @staticmethod
    def failure(error: CollapseError) -> tuple[ErrorKind, str]:
        """An error as plain data: not every exception can be sent."""
        return kind_of(error), str(error)


def brief_of(settings: Settings, cpus: int) -> Brief:
    """What workers have to know of a run.

    Raises:
        UsageError: the file of sentences cannot be read any more.
    """
    factory = os.environ.get(FACTORY_VARIABLE) or GATE
    return Brief(settings, factory, cpus, _texts(settings.ppl_texts), tuple(local_models(settings.models)))


def local_models(names: Sequence[str]) -> dict[str, Path]:
    """The models that are directories of this machine."""
    found = {name: Path(name).expanduser() for name in names if name not in KNOWN_MODELS}
    return {name: path for name, path in found.items() if path.is_dir()}


def _texts(source: str | None) -> TextsFile | None:
    if source is None or source in SHIPPED_TEXTS or source in CATALOGUE:
        return None
    try:
        return TextsFile(PurePath(source).name, Path(source).read_bytes())
    except OSError as error:
        raise UsageError(f"--ppl-texts {source!r} cannot be read ({error}); give a readable file") from None
