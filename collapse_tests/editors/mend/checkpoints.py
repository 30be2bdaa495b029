"""Files of a hypernetwork: the finished one, and the state that an interrupted training goes on from.

Both are safetensors, which hold no code, with everything that is no tensor as JSON in their header. They are written
beside their place and renamed, so a reader sees all or nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from collapse_tests.cache import atomic_file

__all__ = ["Store", "Stored", "checkpoint_key"]

#: Raise it when the same settings lead to another hypernetwork.
_FORMAT = 1


def checkpoint_key(*parts: object) -> str:
    """Name of what is trained from `parts`, plain data; 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps([_FORMAT, *parts], sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Stored:
    """Content of one file.

    Attributes:
        tensors: by name.
        facts: plain data.
    """

    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]


class Store:
    """The directory of one hypernetwork.

    Args:
        directory: it need not exist.

    Attributes:
        finished: path of the trained hypernetwork.
        interrupted: path of the state of a training that has not ended.
    """

    def __init__(self, directory: Path) -> None:
        self.finished = directory / "hypernetwork.safetensors"
        self.interrupted = directory / "training.safetensors"

    def read(self, path: Path) -> Stored | None:
        """What a file holds, or None if it is missing or damaged, as after a crash of the machine."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                facts = json.loads(file.metadata()["facts"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        return Stored(tensors, facts)

    def write(self, path: Path, stored: Stored) -> None:
        """Put a file in place at once.

        Raises:
            OSError: it cannot be written; `path` is then as it was.
        """
        from safetensors.torch import save_file

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in stored.tensors.items()}
        with atomic_file(path) as partial:
            save_file(tensors, partial, metadata={"facts": json.dumps(dict(stored.facts))})
