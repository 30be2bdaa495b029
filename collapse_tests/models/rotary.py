"""Attention layers with rotary positions, without the library's detours.

The library rotates queries and keys in a dozen elementwise operations, each a pass over memory, and leaves them in a
layout that batched products copy. Here a rotation is four operations on halves, and so is its gradient, which is the
rotation by the transposed matrix; both are written where the next product reads them.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["rotary_attention", "rotate"]


def rotary_attention(
    layer: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    attention_mask: Any = None,
    past_key_values: Any = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What the attention layers of Llama, Mistral and Qwen2 compute.

    Args:
        layer: the layer.
        hidden_states: (rows, length, hidden size).
        position_embeddings: cosines and sines, (rows, length, head size) each.
        attention_mask: for the attention function.
        past_key_values: a key/value store, or None.
        kwargs: for the attention function.

    Returns:
        (rows, length, hidden size), and no weights.
    """
    from transformers import AttentionInterface

    functions = AttentionInterface()
    implementation = layer.config._attn_implementation
    if implementation not in functions:  # the library's eager attention is a function of the model's own module
        return type(layer).forward(  # type: ignore[no-any-return]
            layer, hidden_states, position_embeddings, attention_mask, past_key_values=past_key_values, **kwargs
        )
    rows, length, _ = hidden_states.shape
    query, key, value = (
        projection(hidden_states).view(rows, length, -1, layer.head_dim).transpose(1, 2)
        for projection in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    query, key = rotate(query, *position_embeddings), rotate(key, *position_embeddings)
    if past_key_values is not None:
        key, value = past_key_values.update(key, value, layer.layer_idx)
    mixed, _ = functions[implementation](
        layer, query, key, value, attention_mask, dropout=0.0, scaling=layer.scaling, **kwargs
    )
    return layer.o_proj(mixed.reshape(rows, length, -1)), None


def rotate(states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Rotate each head's pairs (i, i + size / 2) by the angles of its position.

    Args:
        states: (rows, heads, length, size).
        cosines: (rows, length, size); both halves alike.
        sines: likewise.
    """
    half = states.shape[-1] // 2
    rotated: torch.Tensor = _Rotation.apply(  # type: ignore[no-untyped-call]
        states, cosines[:, None, :, :half], sines[:, None, :, :half]
    )
    return rotated


class _Rotation(torch.autograd.Function):
    """Rotation of pairs; cosines and sines are (rows, 1, length, size / 2)."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosines, sines)
        return _rotated(states, cosines, sines, torch.empty(states.shape, dtype=states.dtype, device=states.device))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        rows, heads, length, size = gradient.shape
        # Laid out as the projection's output is, whose gradient it becomes.
        out = gradient.new_empty(rows, length, heads, size).transpose(1, 2)
        return _rotated(gradient, cosines, -sines, out), None, None


def _rotated(states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    first, second = states.chunk(2, -1)
    into_first, into_second = out.chunk(2, -1)
    torch.mul(first, cosines, out=into_first).addcmul_(second, sines, value=-1)
    torch.mul(second, cosines, out=into_second).addcmul_(first, sines)
    return out
