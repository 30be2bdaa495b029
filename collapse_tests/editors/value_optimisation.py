"""The value optimisation of ROME and MEMIT for many requests at once.

ROME, section 3.1 and equation 4: find δ such that adding it to the block's output at the subject's last token
makes the model say the new answer in every context, while what it predicts after "<subject> is" stays put.

Two things do not depend on δ and are computed once: everything up to the edited block, and the keys and values
of all tokens before the subject's last one in the blocks above (attention is causal). Each step therefore runs
only the tokens from the subject's last one on, through the blocks above the edited one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from collapse_tests.editors.lookup import RequestRows
from collapse_tests.editors.protocol import Progress
from collapse_tests.models.attention import PrefixKeyValues, RecordingKeyValues, prefix_mask
from collapse_tests.models.batching import pad_right
from collapse_tests.models.editable import EditableModel

__all__ = ["LookupTrace", "OptimisedValues", "ValueObjective", "optimise_values", "trace_lookups"]


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
class LookupTrace:
    """What the unedited model computes at the lookups of a batch, and how to go on from there.

    B requests with J context rows and one essence row each; S columns from the lookup on.

    Attributes:
        keys: (B, J, d_k) input of the edited matrix at the lookup of each context row.
        values: (B, J, hidden size) its output there.
        hidden: (B, J + 1, S, hidden size) output of the edited block from the lookup on.
        positions: (B, J + 1, S) absolute positions of those columns.
        prefix: keys and values before the lookup, rows flattened, for the blocks above; None if there is none.
        prefix_lengths: (B, J + 1) real tokens of each prefix.
        width: columns the prefixes are padded to.
        labels: (B, M) target ids, padded.
        label_weights: (B, M) 1 / (J · number of target ids), 0 for padding.
        label_columns: (B, J, M) column that predicts each target id.
    """

    keys: torch.Tensor
    values: torch.Tensor
    hidden: torch.Tensor
    positions: torch.Tensor
    prefix: PrefixKeyValues | None
    prefix_lengths: torch.Tensor
    width: int
    labels: torch.Tensor
    label_weights: torch.Tensor
    label_columns: torch.Tensor

    def select(self, requests: torch.Tensor) -> LookupTrace:
        """The part of the trace that belongs to some requests, by index."""
        rows = self.hidden.shape[1]
        flat = (requests[:, None] * rows + torch.arange(rows, device=requests.device)).flatten()
        return LookupTrace(
            keys=self.keys[requests],
            values=self.values[requests],
            hidden=self.hidden[requests],
            positions=self.positions[requests],
            prefix=None if self.prefix is None else self.prefix.select(flat),
            prefix_lengths=self.prefix_lengths[requests],
            width=self.width,
            labels=self.labels[requests],
            label_weights=self.label_weights[requests],
            label_columns=self.label_columns[requests],
        )


@torch.no_grad()
def trace_lookups(model: EditableModel, requests: Sequence[RequestRows], block: int) -> LookupTrace:
    """Run the unedited model once over all rows of some requests; see `LookupTrace`.

    Args:
        model: unedited.
        requests: with the same number of contexts each.
        block: the block whose MLP output is to be edited.
    """
    rows = [row for request in requests for row in (*request.contexts, request.essence)]
    shape = (len(requests), len(requests[0].contexts) + 1)
    ids = pad_right([row.ids for row in rows], model.device)
    lookups = torch.tensor([row.lookup for row in rows], device=model.device)
    lengths = torch.tensor([len(row.ids) for row in rows], device=model.device)

    hidden = model.hidden_at(ids, block)
    with model.captured(model.family.mlp_output(block)) as captured:
        hidden = model.run_blocks(hidden, block, block + 1)
    at_lookup = torch.arange(len(rows), device=model.device), lookups
    keys, values = (tensor[at_lookup].view(*shape, -1)[:, :-1] for tensor in (captured.input, captured.output))

    width = int(lookups.max())
    prefix = _prefix(model, hidden[:, :width], block + 1)
    columns = int((lengths - lookups).max())
    # Rows that end before the widest one repeat their last column, which nothing looks at.
    positions = torch.minimum(lookups[:, None] + torch.arange(columns, device=model.device), lengths[:, None] - 1)
    suffix = hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))
    return LookupTrace(
        keys=keys,
        values=values,
        hidden=suffix.view(*shape, columns, -1),
        positions=positions.view(*shape, columns),
        prefix=prefix,
        prefix_lengths=lookups.view(shape),
        width=width,
        **_labels(requests, (lengths - lookups).view(shape)[:, :-1]),
    )


def _prefix(model: EditableModel, hidden: torch.Tensor, start: int) -> PrefixKeyValues | None:
    """Keys and values of the columns before the lookups, for blocks `start` and up."""
    if hidden.shape[1] == 0 or start == model.n_blocks:
        return None
    recorded = RecordingKeyValues()
    model.run_blocks(hidden, start, keys=recorded)
    return PrefixKeyValues(recorded.layers)


def _labels(requests: Sequence[RequestRows], suffix_lengths: torch.Tensor) -> dict[str, torch.Tensor]:
    device = suffix_lengths.device
    counts = torch.tensor([len(request.target) for request in requests], device=device)
    offsets = torch.arange(int(counts.max()), device=device)
    real = offsets < counts[:, None]
    # The row holds all but the last target id, so target id q is predicted at column length - count + q.
    columns = suffix_lengths[:, :, None] - counts[:, None, None] + offsets
    return {
        "labels": pad_right([request.target for request in requests], device),
        "label_weights": real / (counts[:, None] * suffix_lengths.shape[1]),
        "label_columns": columns.clamp_min(0).clamp_max(int(suffix_lengths.max()) - 1),
    }


@torch.enable_grad()
def optimise_values(
    model: EditableModel,
    trace: LookupTrace,
    block: int,
    initial: torch.Tensor,
    objective: ValueObjective,
    progress: Progress,
) -> OptimisedValues:
    """Minimise NLL + KL + norm penalty over δ for every request of a trace, each with its own early stop.

    Args:
        model: unedited.
        trace: of the requests.
        block: the edited block; δ is added to its output.
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
    active = torch.arange(count, device=model.device)
    reference: torch.Tensor | None = None

    for step in range(objective.steps):
        progress(f"optimising values, {len(active)} of {count} edits active", step, objective.steps)
        optimiser.zero_grad()
        current = delta[active]
        nll, essence = _forward(model, trace, block, current)
        if reference is None:
            reference = essence.detach()
        # F.kl_div(input, target) is KL(target ‖ input): the initial distribution is the input.
        kl = F.kl_div(reference, essence, log_target=True, reduction="none").sum(-1)
        penalty = torch.linalg.vector_norm(current, dim=-1) / norms[active] ** 2
        loss = nll + objective.kl_factor * kl + objective.weight_decay * penalty
        done = torch.full_like(loss, step == objective.steps - 1, dtype=torch.bool) | (loss < objective.stop_loss)
        _retire(result, active, current, loss, done, step)
        if done.all():
            break
        if done.any():
            loss = loss[~done]
        loss.sum().backward()
        optimiser.step()
        _project(delta, objective.clamp_norm_factor * norms)
        if done.any():
            keep = (~done).nonzero().flatten()
            active, trace, reference = active[keep], trace.select(keep), reference[keep]
    return result


def _retire(
    result: OptimisedValues,
    active: torch.Tensor,
    current: torch.Tensor,
    loss: torch.Tensor,
    done: torch.Tensor,
    step: int,
) -> None:
    """Keep what the finished requests have reached; later steps no longer touch it."""
    result.delta[active[done]] = current.detach()[done]
    for index, value, finished in zip(active.tolist(), loss.tolist(), done.tolist(), strict=True):
        if finished:
            result.steps[index], result.loss[index] = step, value


@torch.no_grad()
def _project(delta: torch.Tensor, radius: torch.Tensor) -> None:
    """Scale each row of δ that lies outside its ball back onto the ball."""
    norms = torch.linalg.vector_norm(delta, dim=-1)
    outside = norms > radius
    delta[outside] *= (radius / norms)[outside, None]


def _forward(
    model: EditableModel, trace: LookupTrace, block: int, delta: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean NLL of the targets (requests,) and essence log-probabilities (requests, vocabulary) under δ."""
    count, rows, columns, _ = trace.hidden.shape
    hidden = trace.hidden.clone()
    hidden[:, :, 0] += delta[:, None].to(hidden.dtype)
    hidden = model.run_blocks(
        hidden.flatten(0, 1),
        block + 1,
        positions=trace.positions.flatten(0, 1),
        mask=prefix_mask(
            trace.prefix_lengths.flatten(), 0 if trace.prefix is None else trace.width, columns, hidden.dtype
        ),
        keys=trace.prefix,
    ).view(count, rows, columns, -1)

    essence = model.head(hidden[:, -1, 0]).to(delta.dtype).log_softmax(-1)
    request, context, label = (trace.label_weights[:, None] > 0).expand(-1, rows - 1, -1).nonzero(as_tuple=True)
    predicting = hidden[request, context, trace.label_columns[request, context, label]]
    losses = F.cross_entropy(model.head(predicting).to(delta.dtype), trace.labels[request, label], reduction="none")
    weights = trace.label_weights[request, label].to(delta.dtype)
    return torch.zeros_like(delta[:, 0]).index_add(0, request, losses * weights), essence
