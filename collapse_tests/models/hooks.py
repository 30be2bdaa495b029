"""What is hooked into a model for a while: a look at what passes, and for each row a low-rank change of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from collapse_tests.weight_update import LowRankDelta

__all__ = ["Captured", "added_low_rank", "hooked", "stacked"]


class Captured:
    """Input and output of one module in the latest forward pass, each (rows, length, features), on its device."""

    input: torch.Tensor
    output: torch.Tensor

    def hook(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        """Forward hook that keeps both."""
        self.input, self.output = inputs[0], output

    def at(self, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Input and output at some places, (places, features) each, on the device of `rows` (places,)."""
        places = rows.to(self.input.device), columns.to(self.input.device)
        return self.input[places].to(rows.device), self.output[places].to(rows.device)


def stacked(
    deltas: Sequence[LowRankDelta | None], shape: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors of several cases for one layer, zero-padded to one rank, with a zero case at the end.

    Args:
        deltas: of each case; None where it leaves the layer as it is.
        shape: (out, in) of the layer.
        dtype: of the factors.
        device: for them.

    Returns:
        (cases + 1, out, rank) and (cases + 1, rank, in).
    """
    out_features, in_features = shape
    rank = max((delta.rank for delta in deltas if delta is not None), default=0)
    left = torch.zeros(len(deltas) + 1, out_features, rank, dtype=dtype, device=device)
    right = torch.zeros(len(deltas) + 1, rank, in_features, dtype=dtype, device=device)
    for index, delta in enumerate(deltas):
        if delta is not None:
            left[index, :, : delta.rank] = delta.left
            right[index, : delta.rank] = delta.right
    return left, right


def added_low_rank(
    left: torch.Tensor, right: torch.Tensor
) -> Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]:
    """Forward hook that adds left (right x), for factors (rows, out, rank) and (rows, rank, in)."""

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        states = inputs[0].to(right.dtype)  # (rows, length, in)
        added = (states @ right.transpose(1, 2)) @ left.transpose(1, 2)
        return (output.to(added.dtype) + added).to(output.dtype)

    return hook


@contextmanager
def hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Have `hook` called after every forward pass of a module, for the time of a `with` block."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
