"""How much of a device's matrix-product rate the engine uses."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from collapse_tests.models.editable import EditableModel
from collapse_tests.models.precision import MatmulPrecision

__all__ = ["count_flops", "now", "product_rate"]

_SIDE = {"cpu": 2048, "cuda": 8192}
_REPEATS = 10


def now(device: torch.device) -> float:
    """Seconds on a clock, everything queued on the device being done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def count_flops(work: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products and attention in `work()`, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def product_rate(model: EditableModel) -> float:
    """Operations per second of a large square product in the type that the model's products have."""
    side, device = _SIDE[model.device.type], model.device
    dtype = torch.bfloat16 if model.precision is MatmulPrecision.BFLOAT16 else model.dtype
    factor = torch.randn(side, side, device=device, dtype=dtype)
    with model.fast_kernels():
        for _ in range(3):
            factor @ factor
        start = now(device)
        for _ in range(_REPEATS):
            factor @ factor
        return float(2 * side**3 * _REPEATS / (now(device) - start))
