"""Out of memory is an answer, not an end: do half as much at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

__all__ = ["in_halves", "is_out_of_memory"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator raises a plain RuntimeError.
    return isinstance(error, RuntimeError) and "alloc" in str(error).lower() and "memory" in str(error).lower()


def in_halves(work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> list[Result]:
    """`work(items)`, or the same in two halves, recursively, where memory runs out.

    Raises:
        Exception: whatever `work` raises; out-of-memory only when a single item is too much.
    """
    try:
        return list(work(items))
    except Exception as error:
        if len(items) < 2 or not is_out_of_memory(error):
            raise
    # Outside the except block, so that the traceback no longer holds the tensors that filled the memory.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(items) // 2
    return [*in_halves(work, items[:half]), *in_halves(work, items[half:])]
