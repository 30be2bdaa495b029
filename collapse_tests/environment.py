"""What a run ran on: enough to tell whether two runs can be compared."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from collapse_tests import __version__
from collapse_tests.baseline.facts import texts_digest_of
from collapse_tests.settings import Settings

__all__ = ["device_facts", "fingerprint", "usable_cores"]

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pytest", "pytest-xdist")


def fingerprint(settings: Settings) -> dict[str, Any]:
    """Versions, machine and settings, without importing any framework."""
    return {
        "pytest-collapse": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": usable_cores(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "command": sys.argv[1:],
        "settings": _plain(dataclasses.asdict(settings))
        | {"shard": None if settings.shard is None else str(settings.shard)},
        "ppl_texts_digest": texts_digest_of(settings.ppl_texts),
    }


def device_facts(devices: Sequence[str], precision: str) -> dict[str, str]:
    """The names of a model's devices, what computes on them and how float32 products are rounded; imports torch.

    GPUs are told apart by their UUIDs, as what a process calls `cuda:0` depends on which of them it sees.
    """
    import torch

    facts = {"device": ", ".join(devices), "matmul_precision": precision}
    if devices[0].startswith("cuda"):
        names = ", ".join(torch.cuda.get_device_name(device) for device in devices)
        found = (getattr(torch.cuda.get_device_properties(device), "uuid", None) for device in devices)
        uuids = ", ".join(f"GPU-{uuid}" for uuid in found if uuid is not None)
        return facts | {"name": names, "uuid": uuids, "cuda": str(torch.version.cuda)}
    return facts | {
        "name": platform.processor() or platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


def usable_cores() -> int:
    """Cores that this process may use: a queue or a container often allows fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, os.PathLike) else value for name, value in settings.items()}
