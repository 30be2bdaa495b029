"""The GPUs of one host and the workers that share them: counting, and who gets which; asks CUDA for their number only.

GPUs are named by the tokens of CUDA_VISIBLE_DEVICES, as CUDA reads them: its documentation, 'CUDA environment
variables'.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from collapse_tests.errors import UsageError
from collapse_tests.quietly import ignoring_warnings

__all__ = [
    "GPUS",
    "VISIBLE",
    "GpuSlots",
    "can_share_gpus",
    "count_gpus",
    "gpus_of_each",
    "visible_gpus",
    "worker_count",
]

#: Environment variable that says which GPUs CUDA sees, in which order.
VISIBLE = "CUDA_VISIBLE_DEVICES"

#: Key of what workers are told: their tokens of `VISIBLE`.
GPUS = "collapse_gpus"

#: Devices of which Linux has one if it has a driver for GPUs: NVIDIA's, AMD's and that of Windows below it.
_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")


def count_gpus() -> int:
    """How many GPUs torch can use, which honours `VISIBLE`; imports torch only where there may be any."""
    if sys.platform == "linux" and not any(Path(driver).exists() for driver in _DRIVERS):
        return 0
    with ignoring_warnings():
        import torch

        return torch.cuda.device_count()


def can_share_gpus(device: str) -> bool:
    """Whether workers may be given GPUs of their own: not on a CPU, nor if the user names the one GPU."""
    return device in ("auto", "cuda")


def visible_gpus(variable: str | None, count: int) -> tuple[str, ...]:
    """The tokens of the GPUs that CUDA sees, in its order: indices, or UUIDs as the user wrote them.

    Args:
        variable: value of `VISIBLE`, or None where it is not set.
        count: how many of its GPUs CUDA accepts; it ignores the first invalid token and all after it.
    """
    if variable is None:
        return tuple(map(str, range(count)))
    return tuple(token.strip() for token in variable.split(",")[:count])


def gpus_of_each(asked: int | None, count: int, *, spread: bool) -> int:
    """GPUs that each worker gets; 1 also where there are none.

    Args:
        asked: what the user asked for, or None.
        count: of all GPUs.
        spread: whether a model is spread over those of its worker.

    Raises:
        UsageError: there are fewer than asked for.
    """
    if asked is None:
        return max(1, count) if spread else 1
    if asked > count:
        found = {0: "no GPU that torch can use", 1: "1 usable GPU"}.get(count, f"{count} usable GPUs")
        remedy = f"give {count} at most" if count else "leave it out, or install a torch built for the GPU"
        raise UsageError(f"--gpus-per-worker {asked}: this machine has {found}; {remedy}, or see {VISIBLE}")
    return asked


def worker_count(count: int, per_worker: int) -> int:
    """Workers that `count` GPUs suffice for; at least one, which then runs on the CPU."""
    return max(1, count // per_worker)


class GpuSlots:
    """Which worker has which GPUs. Those that come first are shared last, and all of them evenly.

    Args:
        tokens: of all GPUs; empty where there are none.
        per_worker: from 1 to their number. GPUs that are left over are not used.
    """

    def __init__(self, tokens: Sequence[str], per_worker: int) -> None:
        starts = range(0, len(tokens) - per_worker + 1, per_worker)
        self._slots = [tuple(tokens[start : start + per_worker]) for start in starts]
        self._slot_of: dict[str, int] = {}

    def take(self, worker: str) -> tuple[str, ...] | None:
        """The tokens for a new worker: of a slot that the fewest have, such as one that died; None without GPUs."""
        if not self._slots:
            return None
        taken = list(self._slot_of.values())
        slot = min(range(len(self._slots)), key=taken.count)
        self._slot_of[worker] = slot
        return self._slots[slot]

    def release(self, worker: str) -> None:
        """Take back the GPUs of a worker that is gone."""
        self._slot_of.pop(worker, None)
