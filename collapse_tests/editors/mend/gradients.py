"""Fine-tuning gradients of many requests in one pass, as factors, and rows that start at the first edited block.

Everything below the first edited block is frozen and the same before and after an edit, so a row of text is kept as
its hidden states there. The gradient of a request's loss needs no gradient of a weight: the inputs of the edited
layers and the loss's gradients at their outputs are its factors, and each row of a batch has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.mend.hypernetwork import Factors
from collapse_tests.editors.protocol import Progress, no_progress
from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models.batching import length_buckets, pad_right
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.workload import pass_overhead
from collapse_tests.weight_update import LowRankDelta, WeightUpdate

__all__ = [
    "InnerWeights",
    "RowBatch",
    "TargetRow",
    "gradient_factors",
    "hidden_by_ids",
    "low_rank_updates",
    "request_row",
    "target_row",
]

#: Token ids of a row → (tokens, hidden size) hidden states at the first edited block.
HiddenStates = Mapping[tuple[int, ...], torch.Tensor]


@dataclass(frozen=True, slots=True)
class InnerWeights:
    """The weights that are edited.

    Attributes:
        names: of the weights, block by block.
        first_block: the lowest block among them.
    """

    names: tuple[str, ...]
    first_block: int

    @classmethod
    def of_last_blocks(cls, model: EditableModel, blocks: int) -> InnerWeights:
        """The linear layers of the MLPs of the last `blocks` blocks.

        Raises:
            UsageError: the model has fewer blocks.
        """
        if blocks > model.n_blocks:
            raise UsageError(
                f"mend.blocks={blocks}: model {model.name!r} has {model.n_blocks} blocks; give at most that many"
            )
        first = model.n_blocks - blocks
        names = (name for block in range(first, model.n_blocks) for name in _mlp_weights(model, block))
        return cls(tuple(names), first)


def _mlp_weights(model: EditableModel, block: int) -> Iterator[str]:
    path = model.family.mlp(block)
    for child, _ in model.model.get_submodule(path).named_modules():
        name = f"{path}.{child}.weight"
        try:
            model.linear(name)
        except EditorError:
            continue
        yield name


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A prompt and the answer that is wanted after it.

    Attributes:
        ids: token ids of the prompt and of the answer but for its last token.
        targets: ids of the answer, predicted at the row's last columns.
    """

    ids: tuple[int, ...]
    targets: tuple[int, ...]


def target_row(model: EditableModel, prompt: str, answer: str) -> TargetRow:
    """The row of one prompt and answer.

    Raises:
        EditorError: one of them has no tokens, so that there is nothing to predict.
    """
    ids, targets = model.encode(prompt), model.answer_ids(prompt, answer)
    if not ids or not targets:
        raise EditorError(f"the prompt {prompt!r} or the answer {answer!r} has no tokens")
    return TargetRow((*ids, *targets[:-1]), tuple(targets))


def request_row(model: EditableModel, request: EditRequest) -> TargetRow:
    """The row whose gradient is a request's raw edit."""
    return target_row(model, request.prompt, request.target_new)


@torch.no_grad()
def hidden_by_ids(
    model: EditableModel,
    rows: Iterable[TargetRow],
    block: int,
    *,
    max_tokens: int,
    progress: Progress = no_progress,
) -> dict[tuple[int, ...], torch.Tensor]:
    """Hidden states of rows at `block`, (tokens, hidden size) each; rows with the same ids are run once.

    Args:
        model: unedited.
        rows: to run.
        block: the first edited block.
        max_tokens: padded tokens per pass.
        progress: told the rows done.
    """
    distinct = list(dict.fromkeys(row.ids for row in rows))
    states: dict[tuple[int, ...], torch.Tensor] = {}
    lengths = [len(ids) for ids in distinct]
    for bucket in length_buckets(lengths, max_tokens=max_tokens, overhead=pass_overhead(model)):
        progress(f"mend: running texts up to block {block}", len(states), len(distinct))
        hidden = model.hidden_at(pad_right([distinct[index] for index in bucket], model.device), block)
        for row, index in enumerate(bucket):
            # A copy, so that a short row does not keep the padded batch in memory.
            states[distinct[index]] = hidden[row, : lengths[index]].clone()
    return states


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows to run from the first edited block on, and where their targets are predicted.

    Attributes:
        hidden: (rows, tokens, hidden size), padded on the right.
        rows: (labels,) the row of each target id.
        columns: (labels,) the column that predicts it.
        ids: (labels,) the id.
        counts: (rows,) target ids per row.
    """

    hidden: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    ids: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def of(cls, rows: Sequence[TargetRow], states: HiddenStates) -> RowBatch:
        """The batch of some rows whose hidden states are known."""
        hidden = torch.nn.utils.rnn.pad_sequence([states[row.ids] for row in rows], batch_first=True)
        places = [
            (index, len(row.ids) - len(row.targets) + place, token)
            for index, row in enumerate(rows)
            for place, token in enumerate(row.targets)
        ]
        numbers, columns, ids = torch.tensor(places, device=hidden.device).T
        counts = torch.tensor([len(row.targets) for row in rows], device=hidden.device)
        return cls(hidden, numbers, columns, ids, counts)

    def log_probabilities(self, model: EditableModel, final: torch.Tensor) -> torch.Tensor:
        """(labels, vocabulary) where targets are predicted, for states `final` after the last block."""
        logits = model.head(final[self.rows, self.columns])
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)

    def row_means(self, values: torch.Tensor) -> torch.Tensor:
        """Means over each row's labels, (rows,), of values (labels,)."""
        sums = values.new_zeros(len(self.counts)).index_add(0, self.rows, values)
        return sums / self.counts

    def nll(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        """Mean NLL of each row's targets, (rows,)."""
        return self.row_means(F.nll_loss(log_probabilities, self.ids, reduction="none"))


def gradient_factors(
    model: EditableModel, weights: InnerWeights, batch: RowBatch
) -> tuple[dict[str, Factors], torch.Tensor]:
    """Factors of every row's own fine-tuning gradient, and each row's loss.

    Args:
        model: unedited; left as found.
        weights: whose gradients.
        batch: one row per request.

    Returns:
        Name of each weight to its factors, one request per row; and the mean NLL of the targets, (rows,).
    """
    with torch.enable_grad(), ExitStack() as stack:
        captured = [stack.enter_context(model.captured(name.removesuffix(".weight"))) for name in weights.names]
        # Without this nothing requires a gradient, as all parameters are frozen.
        hidden = batch.hidden.detach().requires_grad_()
        final = model.run_blocks(hidden, weights.first_block)
        losses = batch.nll(batch.log_probabilities(model, final))
        # Rows do not see each other, so the gradient of the sum holds each row's own.
        gradients = torch.autograd.grad(losses.sum(), [layer.output for layer in captured])
    factors = {
        name: Factors(layer.input.detach().to(model.device), gradient.to(model.device))
        for name, layer, gradient in zip(weights.names, captured, gradients, strict=True)
    }
    return factors, losses.detach()


def low_rank_updates(raw: Mapping[str, Factors], changes: Mapping[str, Factors]) -> list[WeightUpdate]:
    """One update per request from the factors of its change; its rank is the number of tokens that have a part.

    Args:
        raw: factors of the gradients, which tell those tokens.
        changes: factors of the changes, from a `Hypernetwork`; gradients flow through the updates to it.
    """
    used = {name: factors.used for name, factors in raw.items()}
    count = len(next(iter(used.values())))

    def delta(name: str, index: int) -> LowRankDelta:
        tokens, change = used[name][index], changes[name]
        return LowRankDelta(change.gradients[index][tokens].T, change.inputs[index][tokens])

    return [WeightUpdate({name: delta(name, index) for name in changes}) for index in range(count)]
