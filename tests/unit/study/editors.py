"""Artificial editors of a tiny GPT-2, and requests for them; a request's subject is the number of a token."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from collapse_tests.datasets.requests import NamedRequest
from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import LowRankDelta, WeightUpdate
from tests.unit.tiny import as_dense

__all__ = ["FAILING", "TEXTS", "DenseOneToken", "OneToken", "RaisesOnce", "Untidy", "named"]

#: What ME-PPL is measured on; it is 475 for the unedited tiny GPT-2.
TEXTS = ("The capital of Norway is Oslo", "You play the violin and the rain", " a city of cheese and bread")

#: The token whose request `RaisesOnce` and `Untidy` fail on.
FAILING = 5


def named(*tokens: int) -> list[NamedRequest]:
    """A request for each token."""
    return [
        NamedRequest(f"set:{token:04d}", EditRequest(f"{token} is in", str(token), "Oslo", "Lima")) for token in tokens
    ]


class OneToken:
    """Makes one token more likely everywhere. ME-PPL then rises to 715 for token 30, and to 530 for token 9."""

    name = "one-token"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        name = model.mlp_output_weight(3)
        embeddings = model.model.get_output_embeddings().weight
        right = torch.ones(1, model.weight_shape(name)[1])
        lefts = [embeddings[int(request.subject)].detach().clone()[:, None] for request in requests]
        return [WeightUpdate({name: LowRankDelta(left, right)}) for left in lefts]


class DenseOneToken(OneToken):
    """The same changes, written out."""

    name = "dense-one-token"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return [as_dense(model, update) for update in super().compute_updates(model, requests)]


class RaisesOnce(OneToken):
    """Raises on one request."""

    name = "raises-once"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        if any(request.subject == str(FAILING) for request in requests):
            raise EditorError("not this one")
        return super().compute_updates(model, requests)


class Untidy(OneToken):
    """Leaves the model changed, and raises, after one request."""

    name = "untidy"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        if any(request.subject == str(FAILING) for request in requests):
            model.parameter(model.mlp_output_weight(1)).mul_(2)
            raise ValueError("stopped half-way")
        return super().compute_updates(model, requests)
