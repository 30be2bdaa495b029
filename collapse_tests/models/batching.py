"""Rows of different lengths as rectangular batches with little padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["length_buckets", "pad_right"]


def length_buckets(lengths: Sequence[int], *, max_tokens: int, overhead: float) -> list[list[int]]:
    """Indices of rows grouped so that running the groups, each padded to its longest row, costs least.

    A group costs its padded tokens and `overhead`; rows of one length stay together. The best grouping of sorted
    rows is found by dynamic programming over the distinct lengths.

    Args:
        lengths: tokens per row.
        max_tokens: padded tokens a group may hold; a larger one is cut, and a single longer row is its own group.
        overhead: tokens that take as long as what one more group costs beside its tokens.

    Returns:
        Groups in order of length; every index occurs once.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    ends = [
        end for end in range(1, len(order) + 1) if end == len(order) or lengths[order[end]] > lengths[order[end - 1]]
    ]
    best: dict[int, tuple[float, int]] = {0: (0.0, 0)}  # rows grouped → (cost, where the last group starts)
    for end in ends:
        longest = lengths[order[end - 1]]
        best[end] = min((cost + (end - start) * longest + overhead, start) for start, (cost, _) in best.items())
    groups: list[list[int]] = []
    end = len(order)
    while end:
        start = best[end][1]
        size = max(1, max_tokens // lengths[order[end - 1]])
        groups[:0] = [order[first : min(first + size, end)] for first in range(start, end, size)]
        end = start
    return groups


def pad_right(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """Token ids (rows, longest length); the padding is id 0, which no real token can see."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.long, device=device)
