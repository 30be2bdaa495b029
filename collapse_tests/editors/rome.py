"""ROME, C-ROME and R-ROME: rank-one edits of one block's MLP output projection.

Meng et al. 2022, 'Locating and Editing Factual Associations in GPT', section 3.1, as EasyEdit computes it, and
Yang et al. 2024, 'The Fall of ROME', for the variants. With W the edited matrix, k_j the key at the subject's last
token in context j (j = 0 the bare prompt), k̄ their mean, u ∝ C⁻¹k̄ a unit vector and v* the optimised value:

    ROME     Δ = (v* − W k₀) uᵀ / (k₀ · u)     averaged key in u, bare key elsewhere
    C-ROME   Δ = (v* − W k̄) uᵀ / (k̄ · u)     averaged key everywhere

The mismatch in ROME is what collapses models: for a subject that is the first and only token, k₀ is unlike every
k_j, so k₀ · u is near zero and Δ explodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.contexts import context_templates
from collapse_tests.editors.hparams import Hyperparameters
from collapse_tests.editors.lookup import request_rows
from collapse_tests.editors.lookup_keys import lookup_keys
from collapse_tests.editors.moments import MomentSource, second_moments
from collapse_tests.editors.protocol import RISK, EditorContext
from collapse_tests.editors.second_moment import SecondMoment
from collapse_tests.editors.value_optimisation import OptimisedValues, ValueObjective, ValueOptimiser
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import LowRankDelta, WeightUpdate

__all__ = ["Rome", "RomeHyperparameters", "default_block"]

#: Relative depth of the edited block where a model has no file of its own: what the study uses for each family.
_DEPTH = {"gpt2": 17 / 48, "gptj": 5 / 28}
_DEPTH_OTHERS = 5 / 32


class RomeHyperparameters(Hyperparameters):
    """Fields of `hparams/rome/*.yaml`; see `ValueObjective` for the optimisation's.

    Attributes:
        block: index of the edited block, or None to take it by relative depth.
        keys: which key the residual and the denominator use: `mixed` the bare one (ROME), `prefixed` the average
            over contexts (C-ROME), `prompt` the bare one in u as well.
        context_lengths: pairs (tokens per context, number of contexts).
        second_moment: `.npz` file with E[k kᵀ] of the edited layer or directory of such files, `computed` to count it
            over text the model writes itself (see `MomentSource`), or None for u ∝ k̄.
    """

    block: int | None = Field(default=None, ge=0)
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    clamp_norm_factor: float = Field(gt=0)
    kl_factor: float = Field(ge=0)
    keys: Literal["mixed", "prefixed", "prompt"] = "mixed"
    context_lengths: tuple[tuple[int, int], ...] = ((5, 10), (10, 10))
    second_moment: Literal["computed"] | Path | None = None

    @property
    def objective(self) -> ValueObjective:
        """The part that the value optimisation needs."""
        return ValueObjective(self.steps, self.learning_rate, self.weight_decay, self.clamp_norm_factor, self.kl_factor)


def default_block(model: EditableModel) -> int:
    """Edited block of a model without hyper-parameters of its own, by relative depth."""
    depth = _DEPTH.get(model.config.model_type, _DEPTH_OTHERS)
    return min(round(depth * model.n_blocks), model.n_blocks - 1)


class Rome:
    """The ROME family of editors.

    Args:
        name: `rome`, `c-rome` or `r-rome`.
        hyperparameters: of the method.
        templates: context templates to use instead of generated ones; the bare one first.
    """

    def __init__(self, name: str, hyperparameters: RomeHyperparameters, templates: Sequence[str] | None = None) -> None:
        self.name = name
        self.hyperparameters = hyperparameters
        self._templates = None if templates is None else tuple(templates)
        self._second_moment: SecondMoment | None = None
        self._context = EditorContext()
        self._optimiser = ValueOptimiser(hyperparameters.objective, of="mlp")

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        """Generate or load the context templates, and compute or read the second moment if one is asked for.

        Raises:
            UsageError: the block does not exist in this model, or the second moment does not fit.
        """
        block = self.block(model)
        self._context = context
        if self._templates is None:
            lengths = self.hyperparameters.context_lengths
            self._templates = context_templates(model, lengths, context.seed, context.cache)
        chosen = self.hyperparameters.second_moment
        if chosen is not None:
            source = MomentSource() if chosen == "computed" else MomentSource(statistics=Path(chosen))
            self._second_moment = second_moments(model, [block], source, context)[block]

    def block(self, model: EditableModel) -> int:
        """The edited block.

        Raises:
            UsageError: the model has no such block.
        """
        block = self.hyperparameters.block
        if block is None:
            return default_block(model)
        return model.checked_block(block, f"{self.name}.block")

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """One rank-one update per request; see `Editor`.

        Raises:
            EditorError: `prepare` was not called, or a request cannot be tokenised as the method needs.
        """
        if self._templates is None:
            raise EditorError(f"{self.name}: prepare() has to be called before compute_updates()")
        if not requests:
            return []
        rows = request_rows(model, requests, self._templates)
        block = self.block(model)
        # The MLP's output is its last layer's; dropout is off.
        trace, found = self._optimiser.run(model, rows, block, self._context.progress)
        return self._updates(model, block, self._lookup(trace.keys, trace.values, found.delta.dtype), found)

    def preflight(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[dict[str, float]]:
        """What can be told before the optimisation; see `PreflightEditor`.

        The risk is the largest norm that the update can reach, over the norm of the edited matrix. The optimisation
        keeps δ within `clamp_norm_factor` ‖v₀‖, so that ‖Δ‖ ≤ (clamp_norm_factor ‖v₀‖ + ‖W k₀ − W k‖) / |k · u|.

        Raises:
            EditorError: as `compute_updates`.
        """
        if self._templates is None:
            raise EditorError(f"{self.name}: prepare() has to be called before preflight()")
        if not requests:
            return []
        block = self.block(model)
        found = lookup_keys(model, request_rows(model, requests, self._templates), block)
        lookup = self._lookup(found.keys, found.values, torch.float32)
        reach = self.hyperparameters.clamp_norm_factor * _norm(lookup.bare_value)
        reach = reach + _norm(lookup.bare_value - lookup.value)
        risk = reach / lookup.denominator.abs() / _weight_norm(model, block)
        return _rows(lookup.diagnostics() | {RISK: risk}, block)

    def _lookup(self, keys: torch.Tensor, values: torch.Tensor, dtype: torch.dtype) -> _Lookup:
        """Keys and values (requests, contexts, width) → what the method takes of them."""
        bare_key, mean_key = keys[:, 0].to(dtype), keys.to(dtype).mean(1)
        bare_value, mean_value = values[:, 0].to(dtype), values.to(dtype).mean(1)
        key, value = (mean_key, mean_value) if self.hyperparameters.keys == "prefixed" else (bare_key, bare_value)
        direction = bare_key if self.hyperparameters.keys == "prompt" else mean_key
        if self._second_moment is not None:
            direction = self._second_moment.whiten(direction)
        direction = direction / torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
        return _Lookup(bare_key, mean_key, bare_value, value, direction, denominator=(key * direction).sum(-1))

    def _updates(self, model: EditableModel, block: int, lookup: _Lookup, found: OptimisedValues) -> list[WeightUpdate]:
        value = lookup.bare_value + found.delta
        left = (value - lookup.value) / lookup.denominator[:, None]
        update_norm = torch.linalg.vector_norm(left.double(), dim=-1)  # the direction has norm 1
        columns = lookup.diagnostics() | {
            "value_norm": _norm(value),
            "delta_norm": _norm(found.delta),
            "update_norm": update_norm,
            "update_norm_ratio": update_norm / _weight_norm(model, block),
            "steps": found.steps,
            "final_loss": found.loss,
        }
        name = model.mlp_output_weight(block)
        return [
            WeightUpdate({name: LowRankDelta(left[index, :, None], lookup.direction[index, None, :])}, numbers)
            for index, numbers in enumerate(_rows(columns, block))
        ]


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Keys and values at the lookups of some requests; tensors of a row each.

    Attributes:
        bare_key: k₀.
        mean_key: k̄.
        bare_value: W k₀.
        value: W k with the key k that the residual and the denominator use.
        direction: u.
        denominator: k · u, a number each.
    """

    bare_key: torch.Tensor
    mean_key: torch.Tensor
    bare_value: torch.Tensor
    value: torch.Tensor
    direction: torch.Tensor
    denominator: torch.Tensor

    def diagnostics(self) -> dict[str, torch.Tensor | list[int] | list[float]]:
        """Name → a number per request."""
        return {
            "denominator": self.denominator,
            "key_norm": _norm(self.bare_key),
            "context_key_norm": _norm(self.mean_key),
            "initial_value_norm": _norm(self.bare_value),
        }


def _rows(columns: Mapping[str, torch.Tensor | list[int] | list[float]], block: int) -> list[dict[str, float]]:
    """Columns of numbers → a mapping per request."""
    table = {key: column.tolist() if isinstance(column, torch.Tensor) else column for key, column in columns.items()}
    rows = zip(*table.values(), strict=True)
    return [dict(zip(table, map(float, row), strict=True)) | {"block": float(block)} for row in rows]


def _weight_norm(model: EditableModel, block: int) -> float:
    return float(torch.linalg.vector_norm(model.parameter(model.mlp_output_weight(block)).double()))


def _norm(vectors: torch.Tensor) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return norm
