"""A digest of a model's weights that is fast enough to take after every batch of cases.

Each tensor's bytes are read as 64-bit integers x_i and summed with fixed odd weights w_i modulo 2^64, on the
device the tensor lives on. An odd weight makes every change of a single word certain to show. The upper bits of a
word are first mixed into its lower ones: changes of the top bit alone, which are changes of sign, would cancel in
pairs, since 2^63 w = 2^63 modulo 2^64 for every odd w. Unrelated changes cancel with probability 2^-31 at most.
It guards against mistakes, not against an adversary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["digest_of", "fingerprint", "fingerprints"]

_CHUNK = 1 << 18  # words: small enough for the products to stay in a core's cache
_MULTIPLIER = 6364136223846793005  # Knuth's MMIX constant, odd


def fingerprints(model: nn.Module) -> dict[str, int]:
    """Name → fingerprint of every parameter and buffer, tied parameters once."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: fingerprint(tensor.detach()) for name, tensor in tensors.items()}


@torch.no_grad()
def fingerprint(tensor: torch.Tensor) -> int:
    """A 64-bit integer that changes whenever any bit of `tensor` does; equal on every device."""
    data = tensor.contiguous().view(-1).view(torch.uint8)
    if data.storage_offset() % 8:
        data = data.clone()  # a view into shared storage may start off the 8-byte grid
    words, rest = data[: data.numel() // 8 * 8], data[data.numel() // 8 * 8 :]
    total = int.from_bytes(rest.cpu().numpy().tobytes(), "little")
    weights = _weights(min(_CHUNK, max(1, words.numel() // 8)), tensor.device)
    # One device-to-host transfer for all the chunks.
    sums = [(_mixed(chunk) * weights[: chunk.numel()]).sum() for chunk in torch.split(words.view(torch.int64), _CHUNK)]
    for value in torch.stack(sums).tolist() if sums else []:
        total = (total * _MULTIPLIER + value + 1) % (1 << 64)
    return total


def digest_of(prints: Mapping[str, int], description: str) -> str:
    """One hexadecimal name (32 digits) for a set of fingerprints and a description of what holds them."""
    text = description + "".join(f"\n{name} {value:016x}" for name, value in sorted(prints.items()))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _mixed(words: torch.Tensor) -> torch.Tensor:
    """A one-to-one function of 64-bit words in which every bit has a part in the lower 33.

    The shift is not 32, for which the signs of the two float32 in a word would cancel each other.
    """
    mixed = words >> 33
    mixed &= 0x7FFFFFFF  # the shift repeats the sign
    mixed ^= words
    return mixed


def _weights(count: int, device: torch.device) -> torch.Tensor:
    """Odd 64-bit numbers w_i, the same everywhere (integer arithmetic wraps)."""
    index = torch.arange(1, count + 1, dtype=torch.int64, device=device)
    mixed = index * _MULTIPLIER
    mixed = (mixed ^ (mixed >> 29)) * 0x1B873593CC9E2D51
    return mixed | 1
