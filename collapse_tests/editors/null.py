"""The null editor: it changes nothing, so whatever a gate reports of it is a false alarm."""

from __future__ import annotations

from collections.abc import Sequence

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.hparams import Hyperparameters
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import WeightUpdate

__all__ = ["NullEditor", "NullHyperparameters"]


class NullHyperparameters(Hyperparameters):
    """`hparams/null/*.yaml` has no fields."""


class NullEditor:
    """Updates without a change of any parameter.

    Args:
        name: `null`.
        hyperparameters: none.
    """

    def __init__(self, name: str, hyperparameters: NullHyperparameters) -> None:
        self.name = name
        self.hyperparameters = hyperparameters

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """An empty update per request."""
        return [WeightUpdate({}, {"update_norm": 0.0, "update_norm_ratio": 0.0}) for _ in requests]
