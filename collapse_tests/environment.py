"""What a run ran on: enough to tell whether two runs can be compared."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from collapse_tests import __version__
from collapse_tests.baseline.facts import texts_digest_of
from collapse_tests.settings import Settings

__all__ = ["device_facts", "fingerprint"]

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pytest", "pytest-xdist")


def fingerprint(settings: Settings) -> dict[str, Any]:
    """Versions, machine and settings, without importing any framework."""
    return {
        "pytest-collapse": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "command": sys.argv[1:],
        "settings": _plain(dataclasses.asdict(settings)),
        "ppl_texts_digest": texts_digest_of(settings.ppl_texts),
    }


def device_facts(device: str, precision: str) -> dict[str, str]:
    """The device's name, what computes on it and how float32 products are rounded; imports torch."""
    import torch

    facts = {"device": device, "matmul_precision": precision}
    if device.startswith("cuda"):
        return facts | {"name": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)}
    return facts | {
        "name": platform.processor() or platform.machine(),
        "threads": str(torch.get_num_threads()),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, os.PathLike) else value for name, value in settings.items()}
