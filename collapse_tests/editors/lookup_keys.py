"""What the unedited model holds at the lookups of requests: the cheap part of an edit, known before any editing.

Only the texts up to the subject's last token pass, and only through the blocks up to the edited one. Requests about
one subject that begin alike share their texts, which pass once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from collapse_tests.editors.lookup import RequestRows
from collapse_tests.models.batching import length_buckets, pad_right
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.workload import pass_overhead, scoring_budget

__all__ = ["LookupKeys", "lookup_keys"]


@dataclass(frozen=True, slots=True)
class LookupKeys:
    """Input and output of an MLP's output projection at the lookups of B requests with J context rows each.

    Attributes:
        keys: (B, J, d_k) its input.
        values: (B, J, hidden size) its output.
    """

    keys: torch.Tensor
    values: torch.Tensor


@torch.no_grad()
def lookup_keys(model: EditableModel, requests: Sequence[RequestRows], block: int) -> LookupKeys:
    """Run the unedited model up to a block, over every distinct text up to its lookup.

    Args:
        model: unedited.
        requests: with the same number of contexts each, at least one.
        block: whose MLP is looked at.
    """
    rows = [row.ids[: row.lookup + 1] for request in requests for row in request.contexts]
    texts = list(dict.fromkeys(rows))
    budget = scoring_budget(model)
    found = budget.run(lambda: _at_ends(model, texts, block, budget.tokens), max(map(len, texts)))
    place = {text: index for index, text in enumerate(texts)}
    index = torch.tensor([place[row] for row in rows], device=model.device)
    keys, values = (tensor[index].unflatten(0, (len(requests), -1)) for tensor in found)
    return LookupKeys(keys, values)


def _at_ends(
    model: EditableModel, texts: Sequence[tuple[int, ...]], block: int, max_tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values at the last token of each text."""
    buckets = length_buckets(list(map(len, texts)), max_tokens=max_tokens, overhead=pass_overhead(model))
    keys: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    for bucket in buckets:
        ids = pad_right([texts[index] for index in bucket], model.device)
        ends = torch.tensor([len(texts[index]) - 1 for index in bucket], device=model.device)
        with model.captured(model.family.mlp_output(block)) as captured:
            model.hidden_at(ids, block + 1)
        own_keys, own_values = captured.at(torch.arange(len(bucket), device=model.device), ends)
        keys.append(own_keys)
        values.append(own_values)
    order = torch.tensor([index for bucket in buckets for index in bucket], device=model.device).argsort()
    return torch.cat(keys)[order], torch.cat(values)[order]
