"""Matrix products of float32 models in a shorter type, where the processor is faster in it.

What shortens is the input of a product: TF32 keeps 11 significant bits of each number, bfloat16 keeps 8. Sums are
accumulated in float32, and everything between the products (residuals, norms, attention weights, losses, the added
low-rank updates) stays float32. Weights stay float32 too, so edits are written to what was loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from collapse_tests.models.forwards import Forwards

__all__ = ["MatmulPrecision", "ShortWeights", "resolve_precision", "tf32_products"]

#: What `torch.cpu.get_capabilities` calls instructions that multiply bfloat16.
_CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


class MatmulPrecision(StrEnum):
    """The type that the factors of a float32 matrix product are rounded to."""

    FLOAT32 = "float32"
    TF32 = "tf32"
    BFLOAT16 = "bfloat16"


def resolve_precision(name: str, device: torch.device, dtype: torch.dtype) -> MatmulPrecision:
    """What `--matmul-precision` means for a model.

    `auto` is TF32 on a GPU, and on a CPU bfloat16 where the processor multiplies it natively; docs/precision.md says
    what that does to verdicts. A model that is not float32 has its products in its own type, and a CPU has no TF32:
    both are FLOAT32, which leaves everything as it is.
    """
    if dtype != torch.float32:
        return MatmulPrecision.FLOAT32
    on_gpu = device.type == "cuda"
    if name == "auto":
        if on_gpu:
            return MatmulPrecision.TF32
        return MatmulPrecision.BFLOAT16 if _cpu_multiplies_bfloat16() else MatmulPrecision.FLOAT32
    precision = MatmulPrecision(name)
    return MatmulPrecision.FLOAT32 if precision is MatmulPrecision.TF32 and not on_gpu else precision


def _cpu_multiplies_bfloat16() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # older releases cannot tell
        return False
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in _CPU_BFLOAT16)


@contextmanager
def tf32_products() -> Iterator[None]:
    """Let float32 products use TF32 on a GPU for the time of a `with` block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class ShortWeights:
    """bfloat16 copies of the weights of linear layers, made when first needed, and the products with them.

    Args:
        linears: the layers (Linear or Conv1D).
    """

    def __init__(self, linears: Iterable[nn.Module]) -> None:
        self._layers = tuple(linears)
        self._copies: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}  # the weight, its copy

    def forget(self, weights: Iterable[torch.Tensor]) -> None:
        """Drop the copies of weights that have been written to, under whatever name: an embedding may be a head."""
        written = {weight.data_ptr() for weight in weights}
        self._copies = {
            layer: (weight, copy) for layer, (weight, copy) in self._copies.items() if weight.data_ptr() not in written
        }

    @property
    def forwards(self) -> Forwards:
        """The layers, each with its product in bfloat16; not kept, as a cycle would keep a dropped model in memory."""
        return [(layer, partial(self._product, layer)) for layer in self._layers]

    def _product(self, layer: nn.Module, states: torch.Tensor) -> torch.Tensor:
        product = F.linear(states.bfloat16(), self._copy(layer)).to(states.dtype)
        bias = layer.bias
        return product + bias if isinstance(bias, torch.Tensor) else product

    def _copy(self, layer: nn.Module) -> torch.Tensor:
        """Weight (out_features, in_features) in bfloat16."""
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        found = self._copies.get(layer)
        if found is None or found[0] is not weight:
            stored = weight if isinstance(layer, nn.Linear) else weight.T  # a Conv1D's is transposed
            found = self._copies[layer] = weight, stored.detach().bfloat16().contiguous()
        return found[1]
