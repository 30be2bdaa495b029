"""Which device each block of a model goes to, where one has too little memory: arithmetic on sizes, no framework.

Blocks lie in order, so that hidden states cross once from each device to the next. Embeddings, the last normalisation
and the head stay together on the first device: they may share a weight, and so whatever goes into a model or comes out
of it is in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from collapse_tests.errors import UsageError
from collapse_tests.settings import Settings

__all__ = ["WEIGHTS_SHARE", "balanced", "check_device_map", "missing_bytes"]

#: Of a device's free memory, what weights may take at most; activations and updates need the rest.
WEIGHTS_SHARE = 0.85

_HALVINGS = 40


def check_device_map(settings: Settings) -> None:
    """Refuse `--device-map auto` where nothing can come of it, before any model is loaded.

    Raises:
        UsageError: it was asked for together with one device, or accelerate is not installed.
    """
    if settings.device_map == "none":
        return
    if settings.device not in ("auto", "cuda"):
        raise UsageError(
            f"--device-map {settings.device_map} spreads a model over all GPUs, and --device {settings.device} is one "
            "device; leave one of the two out, and choose GPUs with CUDA_VISIBLE_DEVICES"
        )
    if find_spec("accelerate") is None:
        raise UsageError(
            f"--device-map {settings.device_map} needs accelerate, which is not installed; pip install accelerate"
        )


def balanced(blocks: Sequence[int], rest: int, free: Sequence[int]) -> list[int] | None:
    """Index of the device of each block, such that the device which is fullest for its size is as empty as can be.

    Args:
        blocks: bytes of each block; none is split.
        rest: bytes of everything else, which goes to the first device.
        free: bytes that each device has.

    Returns:
        The indices, ascending; None if weights would take more than `WEIGHTS_SHARE` of a device.
    """
    found = _filled(blocks, rest, free, WEIGHTS_SHARE)
    if found is None:
        return None
    low, high = 0.0, WEIGHTS_SHARE
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        closer = _filled(blocks, rest, free, share)
        if closer is None:
            low = share
        else:
            found, high = closer, share
    return found


def missing_bytes(blocks: Sequence[int], rest: int, free: Sequence[int]) -> int:
    """How much more memory it takes before `balanced` finds something, were it where it is needed."""
    return max(0, int((sum(blocks) + rest) / WEIGHTS_SHARE) - sum(free))


def _filled(blocks: Sequence[int], rest: int, free: Sequence[int], share: float) -> list[int] | None:
    """Devices filled one after the other up to `share` of their memory; None if that does not hold all blocks."""
    room = [share * size for size in free]
    room[0] -= rest
    if room[0] < 0:
        return None
    found: list[int] = []
    device = 0
    for size in blocks:
        while device < len(room) and room[device] < size:
            device += 1
        if device == len(room):
            return None
        room[device] -= size
        found.append(device)
    return found
