"""Attention masks and key/value stores for rows that share nothing but the model.

Rows are padded on the right, so a plain causal mask already keeps real tokens from seeing padding. Only rows
that continue a cached prefix need a mask of their own: prefixes differ in length from row to row.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

__all__ = ["KeyValues", "PrefixKeyValues", "RecordingKeyValues", "causal_mask", "prefix_mask"]


class KeyValues(Protocol):
    """The one method of a Hugging Face cache that an attention layer calls."""

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new keys and values (rows, heads, length, head size), return those to attend to."""
        ...


class RecordingKeyValues:
    """Keeps what each layer computes and changes nothing."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def update(  # noqa: D102
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        layer: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.layers[layer] = (keys, values)
        return keys, values


class PrefixKeyValues:
    """Puts a fixed prefix before each layer's new keys and values; nothing is stored between calls."""

    def __init__(self, layers: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.layers = layers

    def update(  # noqa: D102
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        layer: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        prefix_keys, prefix_values = self.layers[layer]
        return torch.cat([prefix_keys, keys], 2), torch.cat([prefix_values, values], 2)

    def select(self, rows: torch.Tensor) -> PrefixKeyValues:
        """The prefixes of some rows, by index."""
        return PrefixKeyValues({layer: (k[rows], v[rows]) for layer, (k, v) in self.layers.items()})


def causal_mask(length: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Additive mask (1, 1, length, length) that hides the future."""
    return _additive(torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None], dtype)


def prefix_mask(prefix_lengths: torch.Tensor, width: int, length: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask (rows, 1, length, width + length) for suffixes that continue padded prefixes.

    Args:
        prefix_lengths: (rows,) real tokens in each row's prefix.
        width: columns the prefixes are padded to.
        length: columns of the suffixes.
        dtype: the model's.
    """
    device = prefix_lengths.device
    prefix = torch.arange(width, device=device)[None, :] < prefix_lengths[:, None]
    prefix = prefix[:, None, None, :].expand(-1, 1, length, -1)
    suffix = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return _additive(torch.cat([prefix, suffix.expand(len(prefix_lengths), 1, -1, -1)], -1), dtype)


def _additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where visible, the most negative finite number elsewhere: -inf would make NaN of a fully hidden row."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(~visible, torch.finfo(dtype).min)
