"""Where requests are looked up in the unedited model: keys, values and states there, and how to go on from there.

What ROME and MEMIT optimise is added at the subject's last token. Everything up to the edited block, and the keys and
values of all tokens before that one in the blocks above (attention is causal), does not depend on it and is computed
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from collapse_tests.editors.lookup import LookupRow, RequestRows
from collapse_tests.models.batching import length_buckets, pad_right
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.suffixes import SuffixRows, cut_suffixes

__all__ = ["ContextRows", "Labels", "LookupTrace", "trace_lookups"]


@dataclass(frozen=True, slots=True)
class ContextRows:
    """The context rows of requests that end equally far after their lookups; n requests, J rows each.

    Attributes:
        requests: (n,) index of each request in the batch.
        suffixes: the n · J rows from the lookup on, to run from the block after the edited one.
        labels: the target ids of all rows, and where they are predicted.
    """

    requests: torch.Tensor
    suffixes: SuffixRows
    labels: Labels

    def select(self, kept: torch.Tensor) -> ContextRows:
        """Those of the requests that are marked in `kept` (requests of the batch,)."""
        (own,) = kept[self.requests].nonzero(as_tuple=True)
        n_rows = len(self.suffixes.hidden) // len(self.requests)
        rows = (own[:, None] * n_rows + torch.arange(n_rows, device=own.device)).flatten()
        return ContextRows(self.requests[own], self.suffixes.select(rows), self.labels.select(own, rows))


@dataclass(frozen=True, slots=True)
class Labels:
    """Target ids to be predicted in the rows of some requests, each a tensor (labels,).

    Attributes:
        requests: whose target it is.
        rows: the row that predicts it.
        columns: the column that does.
        ids: the id.
        weights: 1 / (rows of the request · number of its target ids).
    """

    requests: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    ids: torch.Tensor
    weights: torch.Tensor

    def select(self, requests: torch.Tensor, rows: torch.Tensor) -> Labels:
        """The labels of some requests and their rows, by ascending index; they are counted anew."""
        (own,) = torch.isin(self.requests, requests).nonzero(as_tuple=True)
        return Labels(
            requests=torch.searchsorted(requests, self.requests[own]),
            rows=torch.searchsorted(rows, self.rows[own]),
            columns=self.columns[own],
            ids=self.ids[own],
            weights=self.weights[own],
        )


@dataclass(frozen=True, slots=True)
class LookupTrace:
    """What the unedited model computes at the lookups of a batch, and how to go on from there.

    B requests with J context rows and one essence row each.

    Attributes:
        keys: (B, J, d_k) input of the edited matrix at the lookup of each context row.
        values: (B, J, hidden size) its output there.
        states: (B, J, hidden size) output of the block there.
        contexts: the context rows, every request in one of the groups.
        essence: the B essence rows; a single column, as they end with the lookup.
    """

    keys: torch.Tensor
    values: torch.Tensor
    states: torch.Tensor
    contexts: tuple[ContextRows, ...]
    essence: SuffixRows


@torch.no_grad()
def trace_lookups(
    model: EditableModel, requests: Sequence[RequestRows], block: int, *, max_tokens: int, overhead: float
) -> LookupTrace:
    """Run the unedited model once over all rows of some requests; see `LookupTrace`.

    Args:
        model: unedited.
        requests: with the same number of contexts each.
        block: the block whose MLP output is to be edited.
        max_tokens: columns that the context rows of one group may have from the lookups on, all rows together.
        overhead: columns that take as long as running one more group.
    """
    n_rows = len(requests[0].contexts)
    lengths = [max(len(row.ids) - row.lookup for row in request.contexts) for request in requests]
    groups = length_buckets(lengths, max_tokens=max(1, max_tokens // n_rows), overhead=overhead / n_rows)
    keys: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    states: list[torch.Tensor] = []
    contexts: list[ContextRows] = []
    for group in groups:
        members = [requests[index] for index in group]
        rows = [row for member in members for row in member.contexts]
        traced = _trace(model, rows, block, overhead)
        keys.append(traced.keys.unflatten(0, (-1, n_rows)))
        values.append(traced.values.unflatten(0, (-1, n_rows)))
        states.append(traced.suffixes.hidden[:, 0].unflatten(0, (-1, n_rows)))
        after = [len(row.ids) - row.lookup for row in rows]
        labels = _labels([member.target for member in members], after, model.device)
        contexts.append(ContextRows(torch.tensor(group, device=model.device), traced.suffixes, labels))
    order = torch.cat([rows.requests for rows in contexts]).argsort()
    essence = _trace(model, [request.essence for request in requests], block, overhead)
    return LookupTrace(
        keys=torch.cat(keys)[order],
        values=torch.cat(values)[order],
        states=torch.cat(states)[order],
        contexts=tuple(contexts),
        essence=essence.suffixes,
    )


@dataclass(frozen=True, slots=True)
class _TracedRows:
    """Rows at their lookups and from there on, to run from the block after the edited one.

    Attributes:
        suffixes: the rows from their lookups on.
        keys: (rows, d_k) input of the edited matrix at the lookups.
        values: (rows, hidden size) its output there.
    """

    suffixes: SuffixRows
    keys: torch.Tensor
    values: torch.Tensor


def _trace(model: EditableModel, rows: Sequence[LookupRow], block: int, overhead: float) -> _TracedRows:
    """Run rows once, those of about one length together: contexts differ more in length than what follows them."""
    width = max(row.lookup for row in rows)
    columns = max(len(row.ids) - row.lookup for row in rows)
    lengths = [len(row.ids) for row in rows]
    parts: list[_TracedRows] = []
    buckets = length_buckets(lengths, max_tokens=sum(lengths), overhead=overhead)
    for bucket in buckets:
        ids = pad_right([rows[index].ids for index in bucket], model.device)
        lookups = torch.tensor([rows[index].lookup for index in bucket], device=model.device)
        ends = torch.tensor([lengths[index] for index in bucket], device=model.device)
        with model.captured(model.family.mlp_output(block)) as captured:
            hidden = model.hidden_at(ids, block + 1)
        with model.fast_kernels():
            suffixes = cut_suffixes(model, hidden, lookups, ends, block + 1, width=width, columns=columns)
        parts.append(_TracedRows(suffixes, *captured.at(torch.arange(len(bucket), device=model.device), lookups)))
    order = torch.tensor([index for bucket in buckets for index in bucket], device=model.device).argsort()
    return _TracedRows(
        suffixes=SuffixRows.joined([part.suffixes for part in parts]).select(order),
        keys=torch.cat([part.keys for part in parts])[order],
        values=torch.cat([part.values for part in parts])[order],
    )


def _labels(targets: Sequence[tuple[int, ...]], suffix_lengths: Sequence[int], device: torch.device) -> Labels:
    """Labels of requests with these targets, whose rows have these many columns from their lookups on."""
    n_rows = len(suffix_lengths) // len(targets)
    # A row holds all but the last target id, so target id q is predicted at column length - count + q.
    places = [
        (request, row, suffix_lengths[row] - len(target) + place, token)
        for request, target in enumerate(targets)
        for row in range(request * n_rows, (request + 1) * n_rows)
        for place, token in enumerate(target)
    ]
    requests, rows, columns, ids = torch.tensor(places, device=device).T
    counts = torch.tensor([len(target) for target in targets], device=device)
    return Labels(requests, rows, columns, ids, 1 / (n_rows * counts[requests]).double())
