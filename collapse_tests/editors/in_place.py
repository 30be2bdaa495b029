"""Anybody's algorithm: a callable that edits a model in place, turned into an editor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.leftovers import Leftover, ModelState
from collapse_tests.models.workload import whole_updates_in_memory
from collapse_tests.weight_update import DenseDelta, WeightUpdate

__all__ = ["InPlaceEditor", "InPlaceRecorder"]


class InPlaceRecorder:
    """Lets code edit a model in place, reads off what it changed and puts everything back.

    The state to go back to is taken once, when this is made, and serves any number of edits.

    Args:
        name: of the editor, for errors.
        model: to edit; left bit-exactly as found after every edit.
        seed: of Python's, numpy's and torch's generators at the start of every edit, so that an edit is the same
            alone and among others.
    """

    def __init__(self, name: str, model: EditableModel, seed: int = 0) -> None:
        self._name = name
        self._seed = seed
        self._state = ModelState(model)

    def record(self, edit: Callable[[], object]) -> WeightUpdate:
        """The dense update that `edit` makes; what it returns is ignored and what it raises passes.

        Harmless things left behind, such as gradients, are undone and noted in the update.

        Raises:
            EditorError: something was left behind that is no change of a weight, such as a hook: the update would
                not be the whole edit. It has been undone as well.
        """
        try:
            self._state.seed(self._seed)
            with torch.enable_grad():
                edit()
            leftovers = self._state.leftovers()
            self._refuse([leftover for leftover in leftovers if leftover.remedy is not None])
            deltas = self._state.deltas()
        finally:
            self._state.undo()
        notes = tuple(f"the editor {leftover.text}, which was undone" for leftover in leftovers)
        changes = {name: DenseDelta(delta) for name, delta in deltas.items()}
        return WeightUpdate(changes, _diagnostics(WeightUpdate(changes), self._state.originals()), notes)

    def _refuse(self, spoilt: Sequence[Leftover]) -> None:
        if not spoilt:
            return
        shown = [leftover.text for leftover in spoilt[:3]]
        more = [f"{len(spoilt) - 3} things more"] if len(spoilt) > 3 else []
        remedies = dict.fromkeys(leftover.remedy for leftover in spoilt if leftover.remedy is not None)
        raise EditorError(
            f"{self._name} {', '.join([*shown, *more])}, so the weights are not the whole edit: {'; '.join(remedies)}"
        )


class InPlaceEditor:
    """Runs a callable on the model, reads off what it changed and puts the model back.

    Args:
        name: for records.
        edit: called with (model, tokenizer, request) once per request; what it returns is ignored.
    """

    def __init__(self, name: str, edit: Callable[[Any, Any, EditRequest], object]) -> None:
        self.name = name
        self._edit = edit
        self._seed = 0

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        """Take over the seed of the run."""
        self._seed = context.seed

    def requests_at_once(self, model: EditableModel) -> int:
        """As many updates as the host should hold if each changes all weights; see `BoundedEditor`."""
        return whole_updates_in_memory(model)

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """One dense update per request; see `Editor` and `InPlaceRecorder.record`."""
        recorder = InPlaceRecorder(self.name, model, self._seed)
        return [recorder.record(partial(self._edit, model.model, model.tokenizer, request)) for request in requests]


def _diagnostics(update: WeightUpdate, originals: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """‖Δ‖, and its ratio to the norm of the changed tensors."""
    norm = update.norm()
    weight = math.hypot(*(float(torch.linalg.vector_norm(originals[name].double())) for name in update.deltas))
    return {"update_norm": norm} | ({"update_norm_ratio": norm / weight} if weight else {})
