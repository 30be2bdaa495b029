"""Anybody's algorithm: a callable that edits a model in place, turned into an editor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import DenseDelta, WeightUpdate

__all__ = ["InPlaceEditor"]


class InPlaceEditor:
    """Runs a callable on the model, reads off what it changed and puts the model back.

    Args:
        name: for records.
        edit: called with (model, tokenizer, request) once per request; what it returns is ignored.
    """

    def __init__(self, name: str, edit: Callable[[Any, Any, EditRequest], object]) -> None:
        self.name = name
        self._edit = edit

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """One dense update per request; see `Editor`. An exception of the callable passes through."""
        originals = model.snapshot()
        return [self._update(model, originals, request) for request in requests]

    def _update(self, model: EditableModel, originals: dict[str, torch.Tensor], request: EditRequest) -> WeightUpdate:
        try:
            with torch.enable_grad():
                self._edit(model.model, model.tokenizer, request)
            changed = {
                name: DenseDelta(tensor.detach() - originals[name])
                for name, tensor in model.tensors().items()
                if name in originals and not torch.equal(tensor, originals[name])
            }
        finally:
            model.restore(originals)
            model.model.eval().requires_grad_(False)
        weight = sum(float(torch.linalg.vector_norm(originals[name].double())) ** 2 for name in changed) ** 0.5
        update = WeightUpdate(changed)
        norm = update.norm()
        ratio = {"update_norm_ratio": norm / weight} if weight else {}
        return WeightUpdate(changed, {"update_norm": norm, **ratio})
