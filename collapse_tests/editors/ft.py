"""FT-L∞: fine-tuning of one block's MLP output projection inside an ℓ∞ ball around the weights.

Zhu et al. 2020, 'Modifying Memories in Transformer Models', section 3, in the form that Meng et al. 2022 compare
ROME with (appendix E.1, 'FT+L') and that EasyEdit computes. With W₀ the matrix (and the bias, where the layer has one):

    minimise the loss of the new answer over W, subject to ‖W − W₀‖∞ ≤ ε

by Adam, every step being followed by a clamp of each entry to [W₀ − ε, W₀ + ε].

Everything below the edited matrix is a constant: the input of the matrix, and what the block adds up besides its
product, are computed once. A step runs only that product and the blocks above. The requests of a batch step side by
side, each with its own copy of the matrix; Adam and the clamp work entry by entry, so each gets what it would get
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.hparams import Hyperparameters
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.errors import EditorError
from collapse_tests.models.batching import pad_right
from collapse_tests.models.editable import EditableModel, is_transposed
from collapse_tests.models.memory import TokenBudget
from collapse_tests.models.workload import gradient_budget, trained_copies, updates_in_memory
from collapse_tests.weight_update import DenseDelta, WeightUpdate

__all__ = ["FineTuning", "FineTuningHyperparameters", "default_block"]

#: Relative depth of the trained block where a model has no file of its own, as the two settings have it. GPT-2's and
#: GPT-J's constrained ones are the first block.
_DEPTH = {("gpt2", True): 0.0, ("gptj", True): 0.0, ("gpt2", False): 0.0, ("gptj", False): 21 / 28}
_DEPTH_OTHERS = 21 / 32


class FineTuningHyperparameters(Hyperparameters):
    """Fields of `hparams/ft/*.yaml` and `hparams/ft-unconstrained/*.yaml`.

    Attributes:
        block: index of the trained block, or None to take it by relative depth.
        steps: optimiser updates at most.
        learning_rate: Adam's.
        norm_constraint: ε, how far each entry may move; None for no bound.
        objective: what is minimised. `prompt_last` is the mean NLL of all target tokens at the last token of the
            prompt, so that ln m is the least that m different ones can reach; `target_new` the mean NLL of each
            target token after those before it.
        stop_loss: a request is done when its loss falls below this.
    """

    block: int | None = Field(default=None, ge=0)
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    norm_constraint: float | None = Field(gt=0)
    objective: Literal["prompt_last", "target_new"] = "prompt_last"
    stop_loss: float = Field(default=1e-2, ge=0)


def default_block(model: EditableModel, *, constrained: bool) -> int:
    """Trained block of a model without hyper-parameters of its own, by relative depth."""
    depth = _DEPTH.get((model.config.model_type, constrained), _DEPTH_OTHERS)
    return min(round(depth * model.n_blocks), model.n_blocks - 1)


class FineTuning:
    """Fine-tuning of one matrix, with or without the constraint.

    Args:
        name: `ft` or `ft-unconstrained`.
        hyperparameters: of the method.
    """

    def __init__(self, name: str, hyperparameters: FineTuningHyperparameters) -> None:
        self.name = name
        self.hyperparameters = hyperparameters
        self._context = EditorContext()
        self._copies: TokenBudget | None = None

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        """Check that the block exists.

        Raises:
            UsageError: it does not exist in this model.
        """
        self.block(model)
        self._context = context
        self._copies = None

    def block(self, model: EditableModel) -> int:
        """The trained block.

        Raises:
            UsageError: the model has no such block.
        """
        block = self.hyperparameters.block
        if block is None:
            return default_block(model, constrained=self.hyperparameters.norm_constraint is not None)
        return model.checked_block(block, f"{self.name}.block")

    def requests_at_once(self, model: EditableModel) -> int:
        """As many updates as the host should hold; see `BoundedEditor`."""
        return updates_in_memory(_Layer.of(model, self.block(model)).bytes)

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """One dense update of the matrix, and of the bias if there is one, per request; see `Editor`.

        The deltas are in the host's memory: a GPU would not hold those of a whole batch beside the model.

        Raises:
            EditorError: a prompt or a target has no tokens of its own.
        """
        layer = _Layer.of(model, self.block(model))
        rows = [_row(model, request, self.hyperparameters.objective) for request in requests]
        if self._copies is None:
            self._copies = TokenBudget(trained_copies(model, layer.bytes))
        tokens = gradient_budget(model).tokens
        # The longest first: a part's rows have about one length, and memory that will not do runs out at once.
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids), reverse=True)
        found: dict[int, WeightUpdate] = {}
        while len(found) < len(order):
            pending = order[len(found) :]
            fitting = max(1, tokens // len(rows[pending[0]].ids))
            run = partial(self._part, model, layer, [rows[index] for index in pending], fitting)
            found.update(zip(pending, self._copies.run(run, least=1), strict=False))
        return [found[index] for index in range(len(rows))]

    def _part(self, model: EditableModel, layer: _Layer, pending: Sequence[_Row], fitting: int) -> list[WeightUpdate]:
        """Updates of the first of the pending requests, as many as fit together."""
        assert self._copies is not None
        rows = pending[: min(self._copies.tokens, fitting)]
        frozen = _freeze(model, layer, rows)
        with model.fast_kernels():
            tuned = _tune(model, layer, frozen, self.hyperparameters, partial(self._tell, len(pending)))
        return [_update(layer, one) for one in tuned]

    def _tell(self, pending: int, active: int, step: int) -> None:
        stage = f"fine-tuning, {pending} edits to go, {active} of them active"
        self._context.progress(stage, step, self.hyperparameters.steps + 1)


# What is trained ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layer:
    """The trained layer.

    Attributes:
        block: its block.
        path: of the module.
        transposed: whether its weight is stored as (in, out).
        originals: parameter name → its value, the weight as (in, out), the bias as (1, out); in float32 or better.
        norm: Frobenius norm of all of them together.
    """

    block: int
    path: str
    transposed: bool
    originals: dict[str, torch.Tensor]
    norm: float

    @property
    def bytes(self) -> int:
        """Of one copy of the parameters."""
        return sum(value.numel() * value.element_size() for value in self.originals.values())

    @classmethod
    def of(cls, model: EditableModel, block: int) -> _Layer:
        """The MLP output projection of `block`."""
        name = model.mlp_output_weight(block)
        module = model.linear(name)
        dtype = torch.promote_types(model.dtype, torch.float32)
        transposed = is_transposed(module)
        weight = model.parameter(name).to(dtype)
        originals = {name: weight if transposed else weight.T.contiguous()}
        if module.bias is not None:
            bias = name.removesuffix("weight") + "bias"
            originals[bias] = model.parameter(bias).to(dtype)[None]
        norm = _norm(list(originals.values()))
        return cls(block, model.family.mlp_output(block), transposed, originals, norm)

    def as_stored(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """A value in the orientation of `originals`, in that of the parameter `name`."""
        if name.endswith("bias"):
            return value[0]
        return value if self.transposed else value.T.contiguous()


@dataclass(frozen=True, slots=True)
class _Row:
    """One request as tokens; C columns predict K ids each.

    Attributes:
        ids: what goes in.
        columns: (C,) where targets are predicted.
        targets: (C, K) what is to be predicted there.
    """

    ids: tuple[int, ...]
    columns: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]


def _row(model: EditableModel, request: EditRequest, objective: str) -> _Row:
    prompt = tuple(model.encode(request.prompt))
    if not prompt:
        raise EditorError(f"prompt {request.prompt!r} tokenises to nothing")
    target = tuple(model.answer_ids(request.prompt, request.target_new))
    if not target:
        raise EditorError(f"target_new {request.target_new!r} tokenises to nothing")
    last = len(prompt) - 1
    if objective == "prompt_last":
        return _Row(prompt, (last,), (target,))
    columns = tuple(range(last, last + len(target)))
    return _Row((*prompt, *target[:-1]), columns, tuple((token,) for token in target))


@dataclass(frozen=True, slots=True)
class _Frozen:
    """What does not depend on the trained layer, for B requests whose rows have up to L tokens.

    Attributes:
        inputs: (B, L, in) input of the layer, on its device, which may be another than that of everything else.
        rest: (B, L, hidden size) input of the next block, were the layer's output zero.
        columns: (B, C) where targets are predicted.
        targets: (B, C, K) their ids.
        weights: (B, C, K) their shares in the loss, 0 for padding; they sum to one in each request.
    """

    inputs: torch.Tensor
    rest: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor

    def select(self, rows: torch.Tensor) -> _Frozen:
        """Some of the requests, by index."""
        inputs = self.inputs[rows.to(self.inputs.device)]
        return _Frozen(inputs, self.rest[rows], self.columns[rows], self.targets[rows], self.weights[rows])

    def losses(self, model: EditableModel, block: int, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Loss of each request (B,) under its own weight (B, in, out) and bias (B, 1, out) in `block`."""
        product = self.inputs.to(weight.dtype) @ weight
        if bias is not None:
            product = product + bias
        hidden = model.run_blocks(self.rest + product.to(self.rest), block + 1)
        predicting = hidden.gather(1, self.columns[..., None].expand(-1, -1, hidden.shape[-1]))
        chances = model.head(predicting).to(weight.dtype).log_softmax(-1).gather(-1, self.targets)
        losses: torch.Tensor = -(chances * self.weights).sum((1, 2))
        return losses


@torch.no_grad()
def _freeze(model: EditableModel, layer: _Layer, rows: Sequence[_Row]) -> _Frozen:
    ids = pad_right([row.ids for row in rows], model.device)
    with model.captured(layer.path) as captured, _silenced(model.model.get_submodule(layer.path)):
        rest = model.hidden_at(ids, layer.block + 1)
    n_columns = max(len(row.columns) for row in rows)
    n_ids = max(len(ids) for row in rows for ids in row.targets)
    columns, targets, weights = [], [], []
    for row in rows:
        counted = [[1.0] * len(ids) + [0.0] * (n_ids - len(ids)) for ids in row.targets]
        padded = [[*ids, *ids[:1] * (n_ids - len(ids))] for ids in row.targets]
        missing = n_columns - len(row.columns)
        columns.append([*row.columns, *row.columns[:1] * missing])
        targets.append([*padded, *padded[:1] * missing])
        weights.append([*counted, *[[0.0] * n_ids] * missing])
    shares = torch.tensor(weights, dtype=next(iter(layer.originals.values())).dtype, device=model.device)
    return _Frozen(
        inputs=captured.input,
        rest=rest,
        columns=torch.tensor(columns, device=model.device),
        targets=torch.tensor(targets, device=model.device),
        weights=shares / shares.sum((1, 2), keepdim=True),
    )


@contextmanager
def _silenced(module: nn.Module) -> Iterator[None]:
    """Let a module put out zeros for the time of a `with` block, which leaves the block's other summands."""
    handle = module.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    try:
        yield
    finally:
        handle.remove()


# The optimisation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tuned:
    """What became of one request.

    Attributes:
        deltas: parameter name → its change, in the orientation of `_Layer.originals`.
        steps: optimiser updates made.
        loss: under these changes.
    """

    deltas: dict[str, torch.Tensor]
    steps: int
    loss: float


def _tune(
    model: EditableModel,
    layer: _Layer,
    frozen: _Frozen,
    fields: FineTuningHyperparameters,
    progress: Callable[[int, int], None],
) -> list[_Tuned]:
    """Train a copy of the layer for each request, each until its loss is low enough or its steps are used up.

    A loss that is NaN never counts as low, and the changes that come of it are not finite either.
    """
    copies = _Copies.of(layer, len(frozen.inputs), fields)
    active = torch.arange(len(frozen.inputs), device=model.device)
    found: dict[int, _Tuned] = {}
    for step in range(fields.steps + 1):
        progress(len(active), step)
        last = step == fields.steps
        with torch.set_grad_enabled(not last):
            losses = frozen.losses(model, layer.block, *copies.stacked)
        loss = losses.detach()
        done = torch.full_like(loss, last, dtype=torch.bool) | (loss < fields.stop_loss)
        for row in done.nonzero()[:, 0].tolist():
            found[int(active[row])] = _Tuned(copies.deltas(row), step, float(loss[row]))
        if done.all():
            break
        # Each loss depends on its own copy alone, so their sum gives each its own gradient.
        losses.sum().backward()
        copies.step()
        if done.any():
            (kept,) = (~done).nonzero(as_tuple=True)
            copies, frozen, active = copies.select(kept), frozen.select(kept), active[kept]
    return [found[index] for index in range(len(found))]


class _Copies:
    """Trained copies of a layer's parameters, stacked, with their optimiser.

    Args:
        layer: what they are copies of.
        parameters: parameter name → (copies, *shape in `_Layer.originals`).
        bounds: parameter name → least and greatest value of each entry; empty for no bounds.
        learning_rate: Adam's.
    """

    def __init__(
        self,
        layer: _Layer,
        parameters: dict[str, torch.Tensor],
        bounds: dict[str, tuple[torch.Tensor, torch.Tensor]],
        learning_rate: float,
    ) -> None:
        self._layer = layer
        self._parameters = {name: value.requires_grad_() for name, value in parameters.items()}
        self._bounds = bounds
        self._learning_rate = learning_rate
        self._optimiser = torch.optim.Adam(self._parameters.values(), lr=learning_rate, fused=True)

    @classmethod
    def of(cls, layer: _Layer, count: int, fields: FineTuningHyperparameters) -> _Copies:
        """Untrained copies."""
        parameters = {name: torch.stack([value] * count) for name, value in layer.originals.items()}
        radius = fields.norm_constraint
        bounds = {} if radius is None else {name: (w - radius, w + radius) for name, w in layer.originals.items()}
        return cls(layer, parameters, bounds, fields.learning_rate)

    @property
    def stacked(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weights (copies, in, out), and biases (copies, 1, out) if there are any."""
        weight, *bias = self._parameters.values()
        return weight, bias[0] if bias else None

    def deltas(self, index: int) -> dict[str, torch.Tensor]:
        """How far copy `index` has moved, by parameter name."""
        originals = self._layer.originals
        return {name: value.detach()[index] - originals[name] for name, value in self._parameters.items()}

    def step(self) -> None:
        """One step of the optimiser by the gradients that have been added up, and back into the bounds."""
        self._optimiser.step()
        self._optimiser.zero_grad()
        with torch.no_grad():
            for name, (least, greatest) in self._bounds.items():
                self._parameters[name].clamp_(least, greatest)

    def select(self, kept: torch.Tensor) -> _Copies:
        """Some of the copies, by index; the optimiser remembers their past."""
        kept = kept.to(next(iter(self._parameters.values())).device)
        parameters = {name: value.detach()[kept] for name, value in self._parameters.items()}
        chosen = _Copies(self._layer, parameters, self._bounds, self._learning_rate)
        for name, value in self._parameters.items():
            state = self._optimiser.state[value]
            chosen._optimiser.state[chosen._parameters[name]] = {
                key: entry[kept] if entry.shape == value.shape else entry for key, entry in state.items()
            }
        return chosen


def _update(layer: _Layer, tuned: _Tuned) -> WeightUpdate:
    norm = _norm(list(tuned.deltas.values()))
    diagnostics = {
        "steps": float(tuned.steps),
        "final_loss": tuned.loss,
        "max_abs_delta": max(float(delta.abs().max()) for delta in tuned.deltas.values()),
        "block": float(layer.block),
        "update_norm": norm,
        "update_norm_ratio": norm / layer.norm if layer.norm else math.nan,
    }
    deltas = {name: DenseDelta(layer.as_stored(name, delta).cpu()) for name, delta in tuned.deltas.items()}
    return WeightUpdate(deltas, diagnostics)


def _norm(tensors: Sequence[torch.Tensor]) -> float:
    """Frobenius norm of all together."""
    return math.hypot(*(float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) for tensor in tensors))
