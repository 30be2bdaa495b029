"""MEMIT and EMMET: edits that weigh what they change by the second moment of all keys.

MEMIT (Meng et al. 2023, equation 14): Δ = R Kᵀ (λ C + K Kᵀ)⁻¹ = R (λ + Kᵀ C⁻¹ K)⁻¹ Kᵀ C⁻¹, over several blocks.

EMMET (Gupta et al. 2024, 'A Unified Framework for Model Editing') fits the new facts as an equality constraint, in one
block: Δ = R (ε + Kᵀ (w C)⁻¹ K)⁻¹ Kᵀ (w C)⁻¹, which is MEMIT's with λ = w ε.
"""

from __future__ import annotations

import torch
from pydantic import Field

from collapse_tests.editors.rome import default_block
from collapse_tests.editors.spreading import SpreadingEditor, SpreadingHyperparameters
from collapse_tests.models.editable import EditableModel

__all__ = ["Emmet", "EmmetHyperparameters", "Memit", "MemitHyperparameters"]

#: λ over the width of the layer where it is not given: 15,000 over 11,008, as for Llama 2 7B. C is a mean over tokens,
#: so kᵀ C⁻¹ k is about the width for a usual key, and λ weighs against it.
_WEIGHT_PER_INPUT = 15_000 / 11_008


class MemitHyperparameters(SpreadingHyperparameters):
    """Fields of `hparams/memit/*.yaml`.

    Attributes:
        moment_weight: λ, or None for a multiple of the layer's width.
    """

    moment_weight: float | None = Field(default=None, gt=0)


class EmmetHyperparameters(SpreadingHyperparameters):
    """Fields of `hparams/emmet/*.yaml`.

    Attributes:
        moment_weight: w, or None for a multiple of the layer's width over ε.
        slack: ε; the smaller, the more exactly the new facts hold.
    """

    moment_weight: float | None = Field(default=None, gt=0)
    slack: float = Field(gt=0)


class Memit(SpreadingEditor):
    """MEMIT; its fields are `MemitHyperparameters`."""

    hyperparameters: MemitHyperparameters

    def shielded(self, block: int, keys: torch.Tensor) -> torch.Tensor:
        """C⁻¹ K."""
        return self.moments[block].whiten(keys)

    def ridge(self, width: int) -> float:
        """λ."""
        return self.hyperparameters.moment_weight or _WEIGHT_PER_INPUT * width


class Emmet(SpreadingEditor):
    """EMMET; its fields are `EmmetHyperparameters`."""

    hyperparameters: EmmetHyperparameters

    def default_blocks(self, model: EditableModel) -> tuple[int, ...]:
        """The one block that ROME edits."""
        return (default_block(model),)

    def shielded(self, block: int, keys: torch.Tensor) -> torch.Tensor:
        """C⁻¹ K."""
        return self.moments[block].whiten(keys)

    def ridge(self, width: int) -> float:
        """ε w."""
        weight = self.hyperparameters.moment_weight
        return _WEIGHT_PER_INPUT * width if weight is None else self.hyperparameters.slack * weight
