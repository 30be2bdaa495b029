"""Weight updates: what an edit changes, as data that can be applied, reverted, composed and measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

__all__ = ["Delta", "DenseDelta", "LowRankDelta", "WeightUpdate"]


@dataclass(frozen=True, slots=True)
class LowRankDelta:
    """A change Δ = left · right of one linear layer's weight, seen as (out_features, in_features).

    Factors stay in the mathematical orientation whatever the layer's storage: a Conv1D keeps its weight
    transposed, and only the code that writes weights has to know.

    Attributes:
        left: (out_features, rank).
        right: (rank, in_features).
    """

    left: torch.Tensor
    right: torch.Tensor

    def __post_init__(self) -> None:
        if self.left.ndim != 2 or self.right.ndim != 2 or self.left.shape[1] != self.right.shape[0]:
            raise ValueError(
                f"low-rank factors must be (out, rank) and (rank, in), got {tuple(self.left.shape)} "
                f"and {tuple(self.right.shape)}"
            )

    @property
    def rank(self) -> int:
        """Number of columns of `left`; the numerical rank may be lower."""
        return self.left.shape[1]

    def matrix(self) -> torch.Tensor:
        """Δ itself, (out_features, in_features)."""
        return self.left @ self.right

    def norm(self) -> float:
        """Frobenius norm ‖left · right‖, from the two small Gram matrices."""
        gram = (self.left.double().T @ self.left.double()) * (self.right.double() @ self.right.double().T)
        return float(gram.sum().clamp_min(0).sqrt())


@dataclass(frozen=True, slots=True)
class DenseDelta:
    """A change of one whole parameter or buffer, in its own shape and storage layout."""

    delta: torch.Tensor

    def norm(self) -> float:
        """Frobenius norm."""
        return float(torch.linalg.vector_norm(self.delta.double()))


Delta = LowRankDelta | DenseDelta


@dataclass(frozen=True, slots=True)
class WeightUpdate:
    """What one edit changes.

    Attributes:
        deltas: full parameter name → its change.
        diagnostics: the editor's own numbers about this edit, for the record.
        notes: what else a reader of the record should know, a sentence each.
        printed: what the editor wrote to the standard output while it computed this.
    """

    deltas: Mapping[str, Delta]
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    printed: str = ""

    @property
    def is_low_rank(self) -> bool:
        """Whether every change has low-rank form, so that many updates can be evaluated side by side."""
        return all(isinstance(delta, LowRankDelta) for delta in self.deltas.values())

    def norm(self) -> float:
        """Frobenius norm over all changed parameters together."""
        return math.hypot(*(delta.norm() for delta in self.deltas.values()))

    def compose(self, other: WeightUpdate) -> WeightUpdate:
        """The update that makes both changes.

        Raises:
            ValueError: the two disagree on whether a parameter's change is dense or low-rank.
        """
        deltas = dict(self.deltas)
        for name, delta in other.deltas.items():
            deltas[name] = _sum(name, deltas[name], delta) if name in deltas else delta
        return WeightUpdate(deltas)


def _sum(name: str, first: Delta, second: Delta) -> Delta:
    if isinstance(first, LowRankDelta) and isinstance(second, LowRankDelta):
        return LowRankDelta(torch.cat([first.left, second.left], 1), torch.cat([first.right, second.right], 0))
    if isinstance(first, DenseDelta) and isinstance(second, DenseDelta):
        return DenseDelta(first.delta + second.delta)
    raise ValueError(f"cannot compose a dense and a low-rank change of {name}; make both dense first")
