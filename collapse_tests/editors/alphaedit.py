"""AlphaEdit: changes that do not touch the directions that most keys have.

Fang et al. 2025, 'AlphaEdit: Null-Space Constrained Knowledge Editing'. With P = N Nᵀ the projection
onto the eigenvectors of the second moment C whose eigenvalues are below a threshold:

    Δ = R Kᵀ P (K Kᵀ P + L₂)⁻¹ = R (L₂ + Kᵀ P K)⁻¹ Kᵀ P

Keys of earlier edits, which the method keeps for edits in sequence, play no part: each update is computed from the
current weights alone.
"""

from __future__ import annotations

import torch
from pydantic import Field

from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.spreading import SpreadingEditor, SpreadingHyperparameters
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel

__all__ = ["AlphaEdit", "AlphaEditHyperparameters"]


class AlphaEditHyperparameters(SpreadingHyperparameters):
    """Fields of `hparams/alphaedit/*.yaml`.

    Attributes:
        nullspace_threshold: eigenvalues of C below this count as zero.
        regularisation: L₂.
    """

    nullspace_threshold: float = Field(gt=0)
    regularisation: float = Field(gt=0)


class AlphaEdit(SpreadingEditor):
    """AlphaEdit; its fields are `AlphaEditHyperparameters`."""

    hyperparameters: AlphaEditHyperparameters

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        """Load or compute the second moments, and decompose them; see `SpreadingEditor.prepare`.

        Raises:
            UsageError: besides, a block has no eigenvalue below the threshold, so that nothing could be edited.
        """
        super().prepare(model, context)
        threshold = self.hyperparameters.nullspace_threshold
        self._null_spaces: dict[int, torch.Tensor] = {}
        for index, (block, moment) in enumerate(self.moments.items()):
            context.progress("decomposing second moments", index, len(self.moments))
            self._null_spaces[block] = basis = moment.null_space(threshold)
            if not basis.shape[1]:
                raise UsageError(
                    f"{self.name}.nullspace_threshold={threshold:g}: no eigenvalue of the second moment of block "
                    f"{block} of model {model.name!r} is below it; give a larger one"
                )

    def shielded(self, block: int, keys: torch.Tensor) -> torch.Tensor:
        """P K."""
        basis = self._null_spaces[block]
        return (keys.to(basis.device) @ basis @ basis.T).to(keys.device)

    def ridge(self, width: int) -> float:
        """L₂."""
        return self.hyperparameters.regularisation
