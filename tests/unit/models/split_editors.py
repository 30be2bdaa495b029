"""Every editor on a tiny model whose blocks 0 and 1 lie on one device, and 2 and 3 on another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.apply_function import ApplyFunctionEditor
from collapse_tests.editors.in_place import InPlaceEditor
from collapse_tests.editors.mend import Mend
from collapse_tests.editors.protocol import Editor, EditorContext, PreparedEditor
from collapse_tests.editors.registry import create_editor
from collapse_tests.models.devices import fetch_inputs
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from fixtures.tiny_models import make_model
from tests.unit.editors.mend.tiny import FIELDS, training_requests

__all__ = ["EDITORS", "EDITS", "computed", "make_split", "matrices"]

EDITS = (
    EditRequest("Norway is a city in", "Norway", "Lima"),
    EditRequest("The capital of Norway is", "Norway", "cheese cat"),
    EditRequest("You play the violin in Paris and in", "Paris", "a city of cheese"),
)

_CONTEXTS = {"context_lengths": [[3, 5]]}
#: Some requests are done before the others.
_FINE_TUNING = {"block": 2, "steps": 6, "norm_constraint": 0.05, "learning_rate": 0.02, "stop_loss": 4.4}
_SPREADING = {**_CONTEXTS, "blocks": [1, 2], "steps": 5, "moment_tokens": 400}


def _native(name: str, **fields: object) -> Callable[[], Editor]:
    overrides = tuple(Override(name, field, value) for field, value in fields.items())
    return lambda: create_editor(name, "tiny", Settings((name,), overrides=overrides))


def _mend() -> Editor:
    return Mend("mend", FIELDS.model_copy(update={"blocks": 3, "steps": 4}), training_requests())


def _descend(model: Any, tokenizer: Any, request: EditRequest) -> None:
    """A step of gradient descent on every weight, by the library's own forward pass."""
    ids = torch.tensor([tokenizer.encode(f"{request.prompt} {request.target_new}")], device=model.device)
    model.requires_grad_(True)
    model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.01 * parameter.grad.to(parameter.device))
            parameter.grad = None
    model.requires_grad_(False)


def apply_rows_to_model(model: Any, tok: Any, requests: Any, hparams: Any) -> Any:
    """Adds a rank-one matrix, made of what the library's model predicts, to a weight of a late block."""
    ids = torch.tensor([tok.encode(requests[0]["prompt"])], device=model.device)
    with torch.no_grad():
        top = model(input_ids=ids).logits[0, -1].softmax(-1).topk(4).values
        weight = model.get_parameter(hparams.weight)
        rows = torch.linspace(-1, 1, weight.shape[0], device=weight.device)
        weight += 0.1 * float(top.sum()) * rows[:, None]
    return model, {}


#: Name → what makes the editor for a model.
EDITORS: dict[str, Callable[[EditableModel], Editor]] = {
    "rome": lambda model: _native("rome", **_CONTEXTS, block=2, steps=5)(),
    "rome below": lambda model: _native("rome", **_CONTEXTS, block=1, steps=5)(),
    "memit": lambda model: _native("memit", **_SPREADING)(),
    "emmet": lambda model: _native("emmet", **_SPREADING | {"blocks": [2]})(),
    "alphaedit": lambda model: _native("alphaedit", **_SPREADING, nullspace_threshold=10.0)(),
    "ft": lambda model: _native("ft", **_FINE_TUNING)(),
    "ft-unconstrained": lambda model: _native("ft-unconstrained", block=1, steps=5)(),
    "mend": lambda model: _mend(),
    "noise": lambda model: _native("noise", block=3)(),
    "in place": lambda model: InPlaceEditor("in place", _descend),
    "apply": lambda model: ApplyFunctionEditor("apply", apply_rows_to_model, {"weight": model.mlp_output_weight(3)}),
}


def make_split(family: str, home: torch.device, away: torch.device) -> EditableModel:
    """A tiny model over two devices."""
    model = make_model(family)
    model.model.to(home)
    for block in model.family.blocks[2:]:
        block.to(away)
    fetch_inputs(model.model)
    return EditableModel(model.model, model.tokenizer, model.name)


def computed(name: str, model: EditableModel, requests: Sequence[EditRequest] = EDITS) -> list[WeightUpdate]:
    """Updates of an editor, prepared without a cache."""
    editor = EDITORS[name](model)
    if isinstance(editor, PreparedEditor):
        editor.prepare(model, EditorContext())
    return list(editor.compute_updates(model, requests))


def matrices(update: WeightUpdate) -> Mapping[str, torch.Tensor]:
    """Name → change, written out in the host's memory."""
    return {
        name: (delta.matrix() if isinstance(delta, LowRankDelta) else delta.delta).detach().cpu().double()
        for name, delta in update.deltas.items()
    }
