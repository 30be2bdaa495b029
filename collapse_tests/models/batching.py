"""Rows of different lengths as rectangular batches with little padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["length_buckets", "pad_right"]


def length_buckets(lengths: Sequence[int], *, max_tokens: int, max_waste: float = 0.15) -> list[list[int]]:
    """Indices of rows grouped so that padding each group to its longest row wastes little.

    Args:
        lengths: tokens per row.
        max_tokens: padded tokens a group may hold; a single longer row makes a group of its own.
        max_waste: share of a group's padded tokens that may be padding.

    Returns:
        Groups in order of length; every index occurs once.
    """
    groups: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if groups:
            padded = (len(groups[-1]) + 1) * lengths[index]
            if padded <= max_tokens and padded - real - lengths[index] <= max_waste * padded:
                groups[-1].append(index)
                real += lengths[index]
                continue
        groups.append([index])
        real = lengths[index]
    return groups


def pad_right(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """Token ids (rows, longest length); the padding is id 0, which no real token can see."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.long, device=device)
