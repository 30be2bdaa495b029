"""The noise editor: a random change of one block's MLP output projection, as a gate's positive control.

Δ has the form left · right with independent standard normal entries in both factors, scaled to a given share of the
Frobenius norm of the matrix W it is added to: ‖Δ‖ = ρ‖W‖. It knows nothing of the fact, so a gate that passes it
with a large ρ sees nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import torch
from pydantic import Field

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.hparams import Hyperparameters
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.rome import default_block
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel, is_transposed
from collapse_tests.weight_update import Delta, DenseDelta, LowRankDelta, WeightUpdate

__all__ = ["Noise", "NoiseHyperparameters"]


class NoiseHyperparameters(Hyperparameters):
    """Fields of `hparams/noise/*.yaml`.

    Attributes:
        block: index of the changed block, or None to take ROME's.
        relative_norm: ρ = ‖Δ‖ / ‖W‖.
        rank: of Δ, or None for independent entries of the whole matrix, which are measured one edit at a time.
    """

    block: int | None = Field(default=None, ge=0)
    relative_norm: float = Field(ge=0, allow_inf_nan=False)
    rank: int | None = Field(ge=1)


class Noise:
    """Random updates.

    Args:
        name: `noise`.
        hyperparameters: of the noise.
    """

    def __init__(self, name: str, hyperparameters: NoiseHyperparameters) -> None:
        self.name = name
        self.hyperparameters = hyperparameters
        self._context = EditorContext()

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        """Take the run's seed.

        Raises:
            UsageError: the model has no such block, or its matrix no such rank.
        """
        name = model.mlp_output_weight(self.block(model))
        rank, largest = self.hyperparameters.rank, min(model.weight_shape(name))
        if rank is not None and rank > largest:
            raise UsageError(
                f"{self.name}.rank={rank}: a change of {name} of model {model.name!r} has rank {largest} at most; "
                "give less, or null for a dense change"
            )
        self._context = context

    def block(self, model: EditableModel) -> int:
        """The changed block.

        Raises:
            UsageError: the model has no such block.
        """
        block = self.hyperparameters.block
        if block is None:
            return default_block(model)
        return model.checked_block(block, f"{self.name}.block")

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """One random update per request, which depends on the run's seed and on the request alone; see `Editor`."""
        block = self.block(model)
        name = model.mlp_output_weight(block)
        weight_norm = float(torch.linalg.vector_norm(model.parameter(name), dtype=torch.float64))
        norm = self.hyperparameters.relative_norm * weight_norm
        diagnostics = {
            "update_norm": norm,
            "update_norm_ratio": self.hyperparameters.relative_norm,
            "block": float(block),
        }
        return [WeightUpdate({name: self._delta(model, name, norm, request)}, diagnostics) for request in requests]

    def _delta(self, model: EditableModel, name: str, norm: float, request: EditRequest) -> Delta:
        # Drawn on the host, whose generator gives the same numbers whatever the model's device.
        random = torch.Generator().manual_seed(_seed(self._context.seed, request))
        rows, columns = model.weight_shape(name)
        dtype = torch.promote_types(model.dtype, torch.float32)
        if (rank := self.hyperparameters.rank) is not None:
            left = torch.randn(rows, rank, generator=random, dtype=dtype)
            right = torch.randn(rank, columns, generator=random, dtype=dtype)
            drawn = LowRankDelta(left, right).norm()
            return LowRankDelta((left * (norm / drawn)).to(model.device), right.to(model.device))
        matrix = torch.randn(rows, columns, generator=random, dtype=dtype)
        matrix *= norm / DenseDelta(matrix).norm()
        return DenseDelta(matrix.T.contiguous() if is_transposed(model.linear(name)) else matrix)


def _seed(run: int, request: EditRequest) -> int:
    """A seed of 63 bits for one request of a run."""
    content = json.dumps([run, request.prompt, request.subject, request.target_new])
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8]) >> 1
