"""Out of memory is an answer, not an end: do half as much at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

__all__ = ["TokenBudget", "free_bytes", "free_memory", "in_halves", "is_out_of_memory"]

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
    free_memory()  # outside the except block: the traceback no longer holds the tensors that filled the memory
    half = len(items) // 2
    return [*in_halves(work, items[:half]), *in_halves(work, items[half:])]


class TokenBudget:
    """How many padded tokens to compute at once; halved where memory runs out, and it stays halved.

    Args:
        tokens: to begin with.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def run(self, work: Callable[[], Result], least: int) -> Result:
        """`work()`, which asks for `tokens`, again with half as many for as long as memory runs out.

        Where not even the least part fits, the tokens were not what is too large, and their number is put back.

        Args:
            work: what to do.
            least: tokens of the smallest part that the work can be cut into.

        Raises:
            Exception: whatever `work` raises; out-of-memory only when it came with `least` tokens or fewer.
        """
        before = self.tokens
        while True:
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self.tokens <= least:
                    self.tokens = before
                    raise
            free_memory()
            self.tokens //= 2


def free_bytes(device: torch.device) -> int:
    """Bytes that new tensors can take on a GPU, those that the allocator holds ready included."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def free_memory() -> None:
    """Give back what nobody holds any more, to every device too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
