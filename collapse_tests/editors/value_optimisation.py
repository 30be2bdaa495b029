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
from typing import Literal

import torch
import torch.nn.functional as F

from collapse_tests.editors.lookup import RequestRows
from collapse_tests.editors.lookup_trace import ContextRows, LookupTrace, trace_lookups
from collapse_tests.editors.protocol import Progress
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import TokenBudget
from collapse_tests.models.suffixes import SuffixRows
from collapse_tests.models.workload import gradient_budget, pass_overhead

__all__ = ["OptimisedValues", "ValueObjective", "ValueOptimiser", "optimise_values"]


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


class ValueOptimiser:
    """Traces requests and optimises their values, as many tokens at a time as memory holds.

    Args:
        objective: hyper-parameters.
        of: whether v₀ is the output of the edited block's MLP (ROME) or of the whole block (MEMIT). δ reaches the
            blocks above in the same way, through their sum; but v₀ scales its penalty and bounds its norm.
    """

    def __init__(self, objective: ValueObjective, of: Literal["mlp", "block"]) -> None:
        self.objective = objective
        self._of = of
        self._budget: TokenBudget | None = None

    def run(
        self, model: EditableModel, rows: Sequence[RequestRows], block: int, progress: Progress
    ) -> tuple[LookupTrace, OptimisedValues]:
        """The unedited model at the lookups of some requests, and their δ.

        Args:
            model: unedited.
            rows: of the requests, with the same number of contexts each.
            block: the edited block.
            progress: told the step.
        """
        if self._budget is None:
            self._budget = gradient_budget(model)
        budget = self._budget
        least = max(len(row.ids) - row.lookup for request in rows for row in request.contexts) * len(rows[0].contexts)
        return budget.run(lambda: self._run(model, rows, block, budget.tokens, progress), least)

    def _run(
        self, model: EditableModel, rows: Sequence[RequestRows], block: int, max_tokens: int, progress: Progress
    ) -> tuple[LookupTrace, OptimisedValues]:
        trace = trace_lookups(model, rows, block, max_tokens=max_tokens, overhead=pass_overhead(model))
        initial = trace.values if self._of == "mlp" else trace.states
        with model.fast_kernels():
            return trace, optimise_values(model, trace, initial[:, 0], self.objective, progress)


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
