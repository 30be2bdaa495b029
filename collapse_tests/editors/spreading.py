"""Edits spread over several blocks: what MEMIT, EMMET and AlphaEdit share.

MEMIT (Meng et al. 2023, section 4): for each request the output of the last edited block L at the subject's last token
is optimised to z. Then block by block, from the lowest, the MLP output projection is changed so that it carries its
share of what is still missing there:

    r = (z − h) / (blocks left)      h: the output of block L, the blocks below being edited already
    k = ½ k₀ + ½ mean_j k_j          the key in the bare prompt, and the mean over prefixed ones
    Δ = R A (ridge + Kᵀ A)⁻¹ Aᵀ      with A = B K, one column per request

The methods differ in B, which says what other keys a change may not touch, and in the ridge. B K is all that is ever
computed of B: the systems solved are as large as the number of requests, not as the layer (push-through identity).

Requests that are edited independently pass side by side, each under the changes made for it so far; in a joint edit
they are the columns of one system.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field, field_validator

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.contexts import context_templates
from collapse_tests.editors.corpus import GENERATED
from collapse_tests.editors.hparams import Hyperparameters
from collapse_tests.editors.lookup import LookupRow, RequestRows, request_rows
from collapse_tests.editors.moments import MomentSource, second_moments
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.editors.second_moment import SecondMoment
from collapse_tests.editors.value_optimisation import OptimisedValues, ValueObjective, ValueOptimiser
from collapse_tests.errors import EditorError
from collapse_tests.models.batching import length_buckets, pad_right
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.workload import pass_overhead, scoring_budget
from collapse_tests.weight_update import LowRankDelta, WeightUpdate

__all__ = ["SpreadingEditor", "SpreadingHyperparameters"]

#: Relative depth of the first and the last edited block where a model has no file of its own: what the MEMIT authors
#: and the study use for each family.
_DEPTHS = {"gpt2": (13 / 48, 17 / 48), "gptj": (3 / 28, 8 / 28)}
_DEPTHS_OTHERS = (4 / 32, 8 / 32)


class SpreadingHyperparameters(Hyperparameters):
    """What the methods have in common; see `ValueObjective` for the optimisation's fields.

    Attributes:
        blocks: edited blocks, ascending, or None to take them by relative depth.
        context_lengths: pairs (tokens per context, number of contexts).
        corpus: text to compute the second moments C = E[k kᵀ] of the edited layers from; see `MomentSource`.
        moment_tokens: tokens to compute them from, or None for a multiple of the layer's width.
        statistics: published `.npz` files to read C from instead; see `MomentSource`.
    """

    blocks: tuple[int, ...] | None = None
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    clamp_norm_factor: float = Field(gt=0)
    kl_factor: float = Field(ge=0)
    context_lengths: tuple[tuple[int, int], ...] = ((10, 5),)
    corpus: str = GENERATED
    moment_tokens: int | None = Field(default=None, ge=1)
    statistics: Path | None = None

    @field_validator("blocks")
    @classmethod
    def _ascending(cls, blocks: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if blocks is not None and (not blocks or blocks[0] < 0 or list(blocks) != sorted(set(blocks))):
            raise ValueError("give block indices from 0 in ascending order, such as [4, 5, 6]")
        return blocks

    @property
    def source(self) -> MomentSource:
        """Where C comes from."""
        return MomentSource(corpus=self.corpus, tokens=self.moment_tokens, statistics=self.statistics)

    @property
    def objective(self) -> ValueObjective:
        """The part that the value optimisation needs."""
        return ValueObjective(self.steps, self.learning_rate, self.weight_decay, self.clamp_norm_factor, self.kl_factor)


@dataclass(frozen=True, slots=True)
class _Lookups:
    """The model at the subjects' last tokens, under the changes made so far.

    Attributes:
        keys: (requests, d_k) averaged input of the edited matrix.
        states: (requests, hidden size) output of the last edited block in the bare prompt.
    """

    keys: torch.Tensor
    states: torch.Tensor


class SpreadingEditor(ABC):
    """An editor that spreads an edit over several blocks.

    Args:
        name: as the user gave it.
        hyperparameters: of the method.
        templates: context templates to use instead of generated ones; the bare one first.
        moments: second moments of the edited blocks to use instead of those of `hyperparameters.source`.
    """

    def __init__(
        self,
        name: str,
        hyperparameters: SpreadingHyperparameters,
        templates: Sequence[str] | None = None,
        moments: Mapping[int, SecondMoment] | None = None,
    ) -> None:
        self.name = name
        self.hyperparameters = hyperparameters
        self.moments = {} if moments is None else dict(moments)
        self.templates: tuple[str, ...] | None = None if templates is None else tuple(templates)
        self._context = EditorContext()
        self._optimiser = ValueOptimiser(hyperparameters.objective, of="block")
        self._prepared = False

    @abstractmethod
    def shielded(self, block: int, keys: torch.Tensor) -> torch.Tensor:
        """A = B K of one block for keys (..., d_k) in float64, of the same shape."""

    @abstractmethod
    def ridge(self, width: int) -> float:
        """What is added to the diagonal of KᵀA in a layer of `width` inputs, d_k."""

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        """Generate or load the context templates and what the method needs to know of the edited blocks.

        Raises:
            UsageError: a block does not exist in this model, or the statistics do not fit it.
        """
        blocks = self.blocks(model)
        self._context = context
        if self.templates is None:
            lengths = self.hyperparameters.context_lengths
            self.templates = context_templates(model, lengths, context.seed, context.cache)
        if not self.moments:
            self.moments = second_moments(model, blocks, self.hyperparameters.source, context)
        self._prepared = True

    def default_blocks(self, model: EditableModel) -> tuple[int, ...]:
        """Edited blocks of a model without hyper-parameters of its own, by relative depth."""
        first, last = (
            min(round(depth * model.n_blocks), model.n_blocks - 1)
            for depth in _DEPTHS.get(model.config.model_type, _DEPTHS_OTHERS)
        )
        return tuple(range(first, last + 1))

    def blocks(self, model: EditableModel) -> tuple[int, ...]:
        """The edited blocks.

        Raises:
            UsageError: the model has no such block.
        """
        blocks = self.hyperparameters.blocks or self.default_blocks(model)
        model.checked_block(blocks[-1], f"{self.name}.blocks={list(blocks)}, last")
        return blocks

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """One update per request, of rank one in each edited block; see `Editor`.

        Raises:
            EditorError: `prepare` was not called, or a request cannot be tokenised as the method needs.
        """
        return self._edited(model, requests, joint=False) if requests else []

    def compute_joint_update(self, model: EditableModel, requests: Sequence[EditRequest]) -> WeightUpdate:
        """One update that writes all requests, of their number's rank in each edited block; see `JointEditor`.

        Raises:
            EditorError: as in `compute_updates`; or there is no request.
        """
        if not requests:
            raise EditorError(f"{self.name}: a joint edit needs at least one request")
        (update,) = self._edited(model, requests, joint=True)
        return update

    def _edited(self, model: EditableModel, requests: Sequence[EditRequest], *, joint: bool) -> list[WeightUpdate]:
        if self.templates is None or not self._prepared:
            raise EditorError(f"{self.name}: prepare() has to be called before any update is computed")
        rows = request_rows(model, requests, self.templates)
        trace, found = self._optimiser.run(model, rows, self.blocks(model)[-1], self._context.progress)
        initial = trace.states[:, 0].to(found.delta.dtype)
        return self._spread(model, rows, initial, found, joint=joint)

    # Spreading --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _spread(
        self,
        model: EditableModel,
        rows: Sequence[RequestRows],
        initial: torch.Tensor,
        found: OptimisedValues,
        *,
        joint: bool,
    ) -> list[WeightUpdate]:
        """Updates that carry the states of some requests from `initial` to `initial` + δ, (requests, hidden size)."""
        blocks, wanted = self.blocks(model), initial + found.delta
        update_of_request = [0 if joint else index for index in range(len(rows))]
        updates = [WeightUpdate({}) for _ in range(1 if joint else len(rows))]
        lookups = self._lookups(model, rows, blocks[0], updates, update_of_request)
        for index, block in enumerate(blocks):
            if index:
                lookups = self._lookups(model, rows, block, updates, update_of_request)
            missing = (wanted - lookups.states) / (len(blocks) - index)
            shape = (1, len(rows), -1) if joint else (len(rows), 1, -1)
            left, right = self._solved(block, lookups.keys.view(shape), missing.view(shape))
            name = model.mlp_output_weight(block)
            updates = [
                WeightUpdate({**update.deltas, name: LowRankDelta(left[edit], right[edit])})
                for edit, update in enumerate(updates)
            ]
        reached = self._lookups(model, rows, blocks[-1], updates, update_of_request).states
        columns = self._columns(initial, wanted, reached, found, lookups.keys)
        return [
            _diagnosed(model, update, _pooled(columns, [r for r, e in enumerate(update_of_request) if e == edit]))
            for edit, update in enumerate(updates)
        ]

    def _solved(self, block: int, keys: torch.Tensor, missing: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors of Δ for edits of n requests each: keys (edits, n, d_k) and what is missing (edits, n, hidden size).

        Returns:
            (edits, hidden size, n) and (edits, n, d_k), in the type of `missing`.
        """
        keys64 = keys.double()
        shielded = self.shielded(block, keys64)
        system = shielded @ keys64.transpose(1, 2)
        system.diagonal(dim1=1, dim2=2).add_(self.ridge(keys.shape[-1]))
        # A system that is singular or not finite gives factors that are not, and those are a verdict further on.
        left, _ = torch.linalg.solve_ex(system, missing.double())
        return left.transpose(1, 2).to(missing.dtype), shielded.to(missing.dtype)

    def _lookups(
        self,
        model: EditableModel,
        rows: Sequence[RequestRows],
        block: int,
        updates: Sequence[WeightUpdate],
        update_of_request: Sequence[int],
    ) -> _Lookups:
        """Keys of `block` and states of the last edited block, each request under its update."""
        n_rows, last = len(rows[0].contexts), self.blocks(model)[-1]
        flat = [row for request in rows for row in request.contexts]
        owner = [edit for edit in update_of_request for _ in range(n_rows)]
        lengths = [row.lookup + 1 for row in flat]
        buckets = length_buckets(lengths, max_tokens=scoring_budget(model).tokens, overhead=pass_overhead(model))
        parts = [
            self._run(model, [flat[i] for i in bucket], [owner[i] for i in bucket], block, last, updates)
            for bucket in buckets
        ]
        order = torch.tensor([index for bucket in buckets for index in bucket], device=model.device).argsort()
        keys, states = (torch.cat(tensors)[order].unflatten(0, (-1, n_rows)) for tensors in zip(*parts, strict=True))
        prefixed = keys[:, 1:].mean(1) if n_rows > 1 else keys[:, 0]
        return _Lookups((keys[:, 0] + prefixed) / 2, states[:, 0])

    def _run(
        self,
        model: EditableModel,
        rows: Sequence[LookupRow],
        owner: Sequence[int],
        block: int,
        last: int,
        updates: Sequence[WeightUpdate],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys (rows, d_k) of `block` and outputs (rows, hidden size) of block `last` at the ends of some rows."""
        ids = pad_right([row.ids[: row.lookup + 1] for row in rows], model.device)
        columns = torch.tensor([row.lookup for row in rows], device=model.device)
        ends = torch.arange(len(rows), device=model.device), columns
        case_of_row = torch.tensor(owner, device=model.device)
        with model.side_by_side(updates, case_of_row), model.captured(model.family.mlp_output(block)) as captured:
            states = model.hidden_at(ids, last + 1)
        dtype = torch.promote_types(model.dtype, torch.float32)
        keys, _ = captured.at(*ends)
        return keys.to(dtype), states[ends].to(dtype)

    def _columns(
        self,
        initial: torch.Tensor,
        wanted: torch.Tensor,
        reached: torch.Tensor,
        found: OptimisedValues,
        keys: torch.Tensor,
    ) -> dict[str, list[float]]:
        """Diagnostics by request."""
        norm = torch.linalg.vector_norm
        return {
            "key_norm": norm(keys, dim=-1).tolist(),
            "initial_value_norm": norm(initial, dim=-1).tolist(),
            "value_norm": norm(wanted, dim=-1).tolist(),
            "delta_norm": norm(found.delta, dim=-1).tolist(),
            "missing_share": (norm(wanted - reached, dim=-1) / norm(found.delta, dim=-1)).tolist(),
            "steps": [float(steps) for steps in found.steps],
            "final_loss": found.loss,
        }


def _pooled(columns: Mapping[str, Sequence[float]], requests: Sequence[int]) -> dict[str, float]:
    """Means over the requests that one update writes."""
    return {name: sum(values[request] for request in requests) / len(requests) for name, values in columns.items()}


def _diagnosed(model: EditableModel, update: WeightUpdate, diagnostics: Mapping[str, float]) -> WeightUpdate:
    squares = [float(torch.linalg.vector_norm(model.parameter(name).double())) ** 2 for name in update.deltas]
    norm = update.norm()
    blocks = [model.block_of(name) for name in update.deltas]
    return WeightUpdate(
        update.deltas,
        {
            **diagnostics,
            "update_norm": norm,
            "update_norm_ratio": norm / sum(squares) ** 0.5,
            "first_block": float(min(blocks)),
            "last_block": float(max(blocks)),
        },
    )
