"""The value optimisation of ROME and MEMIT for many requests at once.

ROME, section 3.1 and equation 4: find δ such that adding it to the block's output at the subject's last token
makes the model say the new answer in every context, while what it predicts after "<subject> is" stays put.

Two things do not depend on δ and are computed once: everything up to the edited block, and the keys and values
of all tokens before the subject's last one in the blocks above (attention is causal). Each step therefore runs
only the tokens from the subject's last one on, through the blocks above the edited one.

All requests of a batch take their steps together. Within a step the context rows pass in rectangles, one for each
length after the lookup, and each pass ends with its backward pass, so that the activations of one are held at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from collapse_tests.editors.lookup import LookupRow, RequestRows
from collapse_tests.editors.protocol import Progress
from collapse_tests.models.batching import length_buckets, pad_right
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.suffixes import SuffixRows, cut_suffixes

__all__ = [
    "ContextRows",
    "Labels",
    "LookupTrace",
    "OptimisedValues",
    "ValueObjective",
    "optimise_values",
    "trace_lookups",
]


@dataclass(frozen=True, slots=True)
class ValueObjective:
    """Hyper-parameters of the optimisation.

    Attributes:
        steps: forward passes; the optimiser makes one update less at most.
        learning_rate: Adam's.
        weight_decay: factor of ‖δ‖ / ‖v₀‖².
        clamp_norm_factor: δ is projected back to at most this many times ‖v₀‖.
        kl_factor: factor of KL(current ‖ initial) of the essence distribution.
        stop_loss: a request is done when its loss falls below this.
    """

    steps: int
    learning_rate: float
    weight_decay: float
    clamp_norm_factor: float
    kl_factor: float
    stop_loss: float = 0.05


@dataclass(frozen=True, slots=True)
class OptimisedValues:
    """Result for a batch of requests.

    Attributes:
        delta: (requests, hidden size).
        steps: optimiser updates made, per request.
        loss: last total loss, per request.
    """

    delta: torch.Tensor
    steps: list[int]
    loss: list[float]


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
        contexts: the context rows, every request in one of the groups.
        essence: the B essence rows; a single column, as they end with the lookup.
    """

    keys: torch.Tensor
    values: torch.Tensor
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
    contexts: list[ContextRows] = []
    for group in groups:
        members = [requests[index] for index in group]
        rows = [row for member in members for row in member.contexts]
        traced = _trace(model, rows, block, overhead)
        keys.append(traced.keys.unflatten(0, (-1, n_rows)))
        values.append(traced.values.unflatten(0, (-1, n_rows)))
        after = [len(row.ids) - row.lookup for row in rows]
        labels = _labels([member.target for member in members], after, model.device)
        contexts.append(ContextRows(torch.tensor(group, device=model.device), traced.suffixes, labels))
    order = torch.cat([rows.requests for rows in contexts]).argsort()
    essence = _trace(model, [request.essence for request in requests], block, overhead)
    return LookupTrace(torch.cat(keys)[order], torch.cat(values)[order], tuple(contexts), essence.suffixes)


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
        at_lookup = torch.arange(len(bucket), device=model.device), lookups
        parts.append(_TracedRows(suffixes, captured.input[at_lookup], captured.output[at_lookup]))
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


def optimise_values(
    model: EditableModel,
    trace: LookupTrace,
    initial: torch.Tensor,
    objective: ValueObjective,
    progress: Progress,
) -> OptimisedValues:
    """Minimise NLL + KL + norm penalty over δ for every request of a trace, each with its own early stop.

    Args:
        model: unedited.
        trace: of the requests; δ is added to the output of its block.
        initial: (requests, hidden size) v₀, which scales the norm penalty and the projection.
        objective: hyper-parameters.
        progress: told the step.

    Returns:
        δ as it was when each request's loss was last computed. A loss that is not finite never counts as
        converged, and the δ that comes of it is not finite either.
    """
    count = len(initial)
    dtype = torch.promote_types(model.dtype, torch.float32)
    norms = torch.linalg.vector_norm(initial.to(dtype), dim=-1)
    delta = torch.zeros(count, initial.shape[-1], dtype=dtype, device=model.device, requires_grad=True)
    optimiser = torch.optim.Adam([delta], lr=objective.learning_rate)
    result = OptimisedValues(torch.zeros_like(delta, requires_grad=False), [0] * count, [float("nan")] * count)
    active = _Active(trace.contexts, trace.essence, torch.arange(count, device=model.device), None)

    for step in range(objective.steps):
        progress(f"optimising values, {len(active.requests)} of {count} edits active", step, objective.steps)
        last = step == objective.steps - 1
        optimiser.zero_grad()
        with torch.set_grad_enabled(not last):
            loss, active = _losses(model, active, delta, norms, objective)
        done = torch.full_like(loss, last, dtype=torch.bool) | (loss < objective.stop_loss)
        _retire(result, active.requests, delta, loss, done, step)
        if done.all():
            break
        optimiser.step()
        _project(delta, objective.clamp_norm_factor * norms)
        if done.any():
            active = active.without(done)
    return result


@dataclass(frozen=True, slots=True)
class _Active:
    """The requests that are still being optimised.

    Attributes:
        contexts: their context rows.
        essence: their essence rows.
        requests: (active,) their indices in the batch.
        reference: (active, vocabulary) initial log-probabilities of the essence rows; None before the first step.
    """

    contexts: tuple[ContextRows, ...]
    essence: SuffixRows
    requests: torch.Tensor
    reference: torch.Tensor | None

    def without(self, done: torch.Tensor) -> _Active:
        """Those that are not marked in `done` (active,)."""
        (own,) = (~done).nonzero(as_tuple=True)
        kept = torch.zeros(int(self.requests.max()) + 1, dtype=torch.bool, device=done.device)
        kept[self.requests[own]] = True
        contexts = [rows.select(kept) for rows in self.contexts]
        return _Active(
            contexts=tuple(rows for rows in contexts if len(rows.requests)),
            essence=self.essence.select(own),
            requests=self.requests[own],
            reference=None if self.reference is None else self.reference[own],
        )


def _losses(
    model: EditableModel, active: _Active, delta: torch.Tensor, norms: torch.Tensor, objective: ValueObjective
) -> tuple[torch.Tensor, _Active]:
    """Loss of every active request (active,), gradients added to `delta`; and the requests with their reference."""
    current = delta[active.requests]
    essence = model.head(active.essence.run(model, current)[:, 0]).to(delta.dtype).log_softmax(-1)
    reference = essence.detach() if active.reference is None else active.reference
    # F.kl_div(input, target) is KL(target ‖ input): the initial distribution is the input.
    kl = F.kl_div(reference, essence, log_target=True, reduction="none").sum(-1)
    penalty = torch.linalg.vector_norm(current, dim=-1) / norms[active.requests] ** 2
    loss = objective.kl_factor * kl + objective.weight_decay * penalty
    _backward(loss)
    total = torch.zeros_like(norms).index_add(0, active.requests, loss.detach())
    for rows in active.contexts:
        nll = _target_nll(model, rows, delta[rows.requests])
        _backward(nll)
        total.index_add_(0, rows.requests, nll.detach())
    return total[active.requests], replace(active, reference=reference)


def _backward(losses: torch.Tensor) -> None:
    """Each request's loss depends on its own row of δ alone, so their sum gives each its own gradient."""
    if losses.requires_grad:
        losses.sum().backward()


def _target_nll(model: EditableModel, rows: ContextRows, delta: torch.Tensor) -> torch.Tensor:
    """Mean NLL of the target over contexts and target tokens, (requests,), under δ (requests, hidden size)."""
    labels = rows.labels
    hidden = rows.suffixes.run(model, delta.repeat_interleave(len(rows.suffixes.hidden) // len(delta), 0))
    logits = model.head(hidden[labels.rows, labels.columns]).to(delta.dtype)
    losses = F.cross_entropy(logits, labels.ids, reduction="none")
    weights = labels.weights.to(delta.dtype)
    return torch.zeros_like(delta[:, 0]).index_add(0, labels.requests, losses * weights)


def _retire(
    result: OptimisedValues,
    requests: torch.Tensor,
    delta: torch.Tensor,
    loss: torch.Tensor,
    done: torch.Tensor,
    step: int,
) -> None:
    """Keep what the finished requests have reached; later steps no longer touch it."""
    result.delta[requests[done]] = delta.detach()[requests[done]]
    for index, value, finished in zip(requests.tolist(), loss.tolist(), done.tolist(), strict=True):
        if finished:
            result.steps[index], result.loss[index] = step, value


@torch.no_grad()
def _project(delta: torch.Tensor, radius: torch.Tensor) -> None:
    """Scale each row of δ that lies outside its ball back onto the ball."""
    norms = torch.linalg.vector_norm(delta, dim=-1)
    outside = norms > radius
    delta[outside] *= (radius / norms)[outside, None]
