"""Attention masks and key/value stores for rows that share nothing but the model.

Rows are padded on the right, so a plain causal mask already keeps real tokens from seeing padding. Only rows
that continue a cached prefix need a mask of their own: prefixes differ in length from row to row.

For those rows, of a few queries each, the kernels behind PyTorch's attention are wasteful: they work in tiles of 64
queries, want keys and values of prefix and suffix in one tensor, and repeat them for grouped heads. `split_attention`
does the same sums as small products, and needs no gradient for the prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

__all__ = [
    "KeyValues",
    "PrefixKeyValues",
    "RecordingKeyValues",
    "SplitMask",
    "aligned",
    "causal_mask",
    "prefix_mask",
    "split_attention",
]


#: A GPU's matrix units take rows that begin at multiples of 16 bytes; other products run many times slower.
_GPU_ALIGNMENT = 8


def aligned(columns: int, device: torch.device) -> int:
    """`columns`, or the next number of them whose products are fast on `device`."""
    step = _GPU_ALIGNMENT if device.type == "cuda" else 1
    return -(-columns // step) * step


class KeyValues:
    """What attention layers call of a Hugging Face cache: this one gives each layer back its own keys and values."""

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new keys and values (rows, heads, length, head size), return those to attend to."""
        return self.attended(layer, keys, values)

    def attended(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values that `layer` attends to, given its own."""
        return keys, values


class RecordingKeyValues(KeyValues):
    """Keeps what each layer computes and changes nothing."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def attended(  # noqa: D102
        self, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.layers[layer] = (keys, values)
        return keys, values


class PrefixKeyValues(KeyValues):
    """Puts a fixed prefix before each layer's new keys and values; nothing is stored between calls."""

    def __init__(self, layers: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.layers = layers

    def attended(  # noqa: D102
        self, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        prefix_keys, prefix_values = self.layers[layer]
        return torch.cat([prefix_keys, keys], 2), torch.cat([prefix_values, values], 2)

    @property
    def width(self) -> int:
        """Columns the prefixes are padded to."""
        return next((keys.shape[2] for keys, _ in self.layers.values()), 0)

    def padded(self, width: int) -> PrefixKeyValues:
        """The same prefixes with columns of zeros up to `width`, which a mask has to hide."""
        return PrefixKeyValues(
            {layer: (pad_columns(k, width), pad_columns(v, width)) for layer, (k, v) in self.layers.items()}
        )

    @classmethod
    def joined(cls, parts: Sequence[PrefixKeyValues]) -> PrefixKeyValues:
        """The rows of several stores of one width, in their order."""
        return cls(
            {
                layer: (
                    torch.cat([part.layers[layer][0] for part in parts]),
                    torch.cat([part.layers[layer][1] for part in parts]),
                )
                for layer in parts[0].layers
            }
        )

    def select(self, rows: torch.Tensor) -> PrefixKeyValues:
        """The prefixes of some rows, by index; each layer's stay on their device."""
        on = {device: rows.to(device) for device in {k.device for k, _ in self.layers.values()}}
        return PrefixKeyValues({layer: (k[on[k.device]], v[on[k.device]]) for layer, (k, v) in self.layers.items()})


@dataclass(frozen=True, slots=True)
class SplitMask:
    """What `split_attention` takes in the place of a mask, which blocks pass on as it is.

    Attributes:
        additive: (rows, 1, length, prefix columns + suffix columns); the suffix may have more columns than `length`,
            all of them hidden.
        prefix: keys and values of the prefix, by layer.
    """

    additive: torch.Tensor
    prefix: PrefixKeyValues

    @classmethod
    def of(cls, mask: torch.Tensor, prefix: PrefixKeyValues) -> SplitMask:
        """From an additive mask (rows, 1, length, prefix columns + length)."""
        columns = prefix.width + aligned(mask.shape[2], mask.device)
        return cls(F.pad(mask, (0, columns - mask.shape[3]), value=torch.finfo(mask.dtype).min), prefix)


def split_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: SplitMask,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of suffixes to their prefixes and themselves, as one softmax over both.

    Args:
        module: the attention layer; its `layer_idx` names its prefix.
        query: (rows, heads, length, head size).
        key: (rows, key heads, length, head size); each is shared by heads / key heads queries.
        value: likewise.
        attention_mask: prefix and mask.
        scaling: of the scores; by default head size to the power -1/2.
        kwargs: what other attention functions take, without meaning here.

    Returns:
        (rows, length, heads, head size), and no weights.
    """
    rows, heads, length, size = query.shape
    groups = key.shape[1]
    additive = attention_mask.additive[:, :, None]
    prefix_key, prefix_value = attention_mask.prefix.layers[module.layer_idx]
    width, columns = prefix_key.shape[2], additive.shape[-1]
    key, value = pad_columns(key, columns - width), pad_columns(value, columns - width)
    query = query.reshape(rows, groups, -1, size)
    scores = torch.cat([query @ prefix_key.transpose(2, 3), query @ key.transpose(2, 3)], -1)
    scale = size**-0.5 if scaling is None else scaling
    masked = torch.add(additive, scores.view(rows, groups, -1, length, columns), alpha=scale)
    weights = masked.softmax(-1, torch.promote_types(query.dtype, torch.float32)).to(value.dtype).view(scores.shape)
    mixed = weights[..., :width] @ prefix_value + weights[..., width:] @ value
    return mixed.view(rows, heads, length, size).transpose(1, 2), None


def pad_columns(states: torch.Tensor, columns: int) -> torch.Tensor:
    """Keys or values (rows, heads, length, head size) with zeros up to `columns` in the place of the length."""
    missing = columns - states.shape[2]
    return F.pad(states, (0, 0, 0, missing)) if missing else states


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
