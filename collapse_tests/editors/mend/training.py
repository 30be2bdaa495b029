"""Training of the hypernetwork.

Mitchell et al. 2022, section 3.3: with W' the weights after the edit of a request (x_e, y_e),

    L = c_e · −log p(y_e | x'_e; W') + c_loc · KL(p(· | x_loc; W) ‖ p(· | x_loc; W'))

where x'_e is x_e in other words and x_loc a prompt about something else. The gradient flows through the edit into the
hypernetwork; the model itself is frozen. A pass takes many requests, each row under its own request's edit, written
as low-rank factors beside the layers and into no weight.

What the raw factors are normalised by does not depend on the hypernetwork, so it is computed once over all training
requests, which is what the published running means approach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.mend.checkpoints import Store, Stored
from collapse_tests.editors.mend.gradients import (
    InnerWeights,
    RowBatch,
    TargetRow,
    gradient_factors,
    hidden_by_ids,
    low_rank_updates,
    request_row,
    target_row,
)
from collapse_tests.editors.mend.hypernetwork import Hypernetwork, Statistics
from collapse_tests.editors.mend.requests import Split
from collapse_tests.editors.protocol import Progress
from collapse_tests.errors import EditorError
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.workload import gradient_budget, scoring_budget

__all__ = ["Example", "Losses", "TrainingSettings", "Validation", "example_losses", "train"]

Outer = Literal["rephrase", "prompt", "both"]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Hyper-parameters of the training.

    Attributes:
        steps: of the optimiser, at most.
        batch_size: requests per step; they are accumulated over as many passes as memory asks for.
        learning_rate: Adam's, of the transforms.
        edit_lr_learning_rate: Adam's, of the step sizes α.
        decay: whether both fall linearly to zero over the steps. The published training keeps them, and is long.
        edit_factor: c_e.
        locality_factor: c_loc.
        base_factor: of −log p of the locality prompt's own answer after the edit.
        outer: what the edited model is to answer: the prompt, its rephrasing, or both; the prompt where a request
            has no rephrasing.
        gradient_clip: norm that a step's gradient is clipped to.
        validate_every: steps between validations, each of which also writes the state to go on from.
        patience: validations without improvement after which the training ends.
    """

    steps: int
    batch_size: int
    learning_rate: float
    edit_lr_learning_rate: float
    decay: bool
    edit_factor: float
    locality_factor: float
    base_factor: float
    outer: Outer
    gradient_clip: float
    validate_every: int
    patience: int


@dataclass(frozen=True, slots=True)
class Example:
    """The rows of one request.

    Attributes:
        edit: whose gradient is the raw edit.
        outer: that the edited model is to answer.
        locality: whose predictions are to stay, or None.
        has_answer: whether the locality row's targets are its right answer, not merely the next position.
    """

    edit: TargetRow
    outer: tuple[TargetRow, ...]
    locality: TargetRow | None
    has_answer: bool = True

    @classmethod
    def of(cls, model: EditableModel, request: EditRequest, outer: Outer) -> Example:
        """The example of a request."""
        edit = request_row(model, request)
        rows = [edit] if outer != "rephrase" or request.rephrase_prompt is None else []
        if outer != "prompt" and request.rephrase_prompt is not None:
            rows.append(target_row(model, request.rephrase_prompt, request.target_new))
        if request.locality_prompt is None:
            return cls(edit, tuple(rows), None)
        answer = request.locality_ground_truth
        if answer is not None:
            return cls(edit, tuple(rows), target_row(model, request.locality_prompt, answer))
        # Without an answer the very next position stands for it; which id is put there does not matter.
        return cls(edit, tuple(rows), TargetRow(tuple(model.encode(request.locality_prompt)), (0,)), has_answer=False)

    @property
    def rows(self) -> tuple[TargetRow, ...]:
        """All of them."""
        return (self.edit, *self.outer, *(() if self.locality is None else (self.locality,)))


@dataclass(frozen=True, slots=True)
class Losses:
    """Parts of the loss per request, (requests,) each.

    Attributes:
        edit: NLL of the new answer after the edit, mean over the outer rows.
        locality: KL of the locality row; zero without one.
        base: NLL of the locality answer after the edit; zero without one.
        raw: NLL of the new answer before the edit.
    """

    edit: torch.Tensor
    locality: torch.Tensor
    base: torch.Tensor
    raw: torch.Tensor

    def total(self, settings: TrainingSettings) -> torch.Tensor:
        """The weighted sum, (requests,)."""
        return (
            settings.edit_factor * self.edit
            + settings.locality_factor * self.locality
            + settings.base_factor * self.base
        )


def example_losses(
    model: EditableModel,
    network: Hypernetwork,
    weights: InnerWeights,
    examples: Sequence[Example],
    states: Mapping[tuple[int, ...], torch.Tensor],
) -> Losses:
    """Losses of some requests, each under its own edit; differentiable in the hypernetwork.

    Args:
        model: unedited; left as found.
        network: that makes the edits.
        weights: that are edited.
        examples: one per request.
        states: hidden states at the first edited block of all their rows.
    """
    raw, before = gradient_factors(model, weights, RowBatch.of([example.edit for example in examples], states))
    updates = low_rank_updates(raw, network(raw))
    outer = [(index, row) for index, example in enumerate(examples) for row in example.outer]
    locality = [(index, example.locality) for index, example in enumerate(examples) if example.locality is not None]
    cases = torch.tensor([index for index, _ in (*outer, *locality)], device=model.device)
    batch = RowBatch.of([row for _, row in (*outer, *locality)], states)
    with model.side_by_side(updates, cases):
        final = model.run_blocks(batch.hidden, weights.first_block)
    after = batch.log_probabilities(model, final)
    divergence = torch.zeros_like(after[:, 0])
    if locality:
        (local,) = (batch.rows >= len(outer)).nonzero(as_tuple=True)
        still = RowBatch.of([row for _, row in locality], states)
        with torch.no_grad():
            reference = still.log_probabilities(model, model.run_blocks(still.hidden, weights.first_block))
        kl = F.kl_div(after[local], reference, log_target=True, reduction="none").sum(-1)
        divergence = divergence.index_add(0, local, kl)
    return _by_request(batch, cases, len(outer), divergence, batch.nll(after), before, examples)


def _by_request(
    batch: RowBatch,
    cases: torch.Tensor,
    n_outer: int,
    divergence: torch.Tensor,
    nll: torch.Tensor,
    before: torch.Tensor,
    examples: Sequence[Example],
) -> Losses:
    zeros = nll.new_zeros(len(examples))
    counts = torch.tensor([len(example.outer) for example in examples], device=nll.device)
    answered = torch.tensor([example.has_answer for example in examples], device=nll.device)
    outer, local = cases[:n_outer], cases[n_outer:]
    base = zeros.index_add(0, local, nll[n_outer:])
    return Losses(
        edit=zeros.index_add(0, outer, nll[:n_outer]) / counts,
        locality=zeros.index_add(0, local, batch.row_means(divergence)[n_outer:]),
        base=torch.where(answered, base, zeros),
        raw=before,
    )


@dataclass(frozen=True, slots=True)
class Validation:
    """Means over the validation requests after some steps.

    Attributes:
        step: optimiser steps made.
        loss: total.
        edit: NLL of the new answer after the edit.
        locality: KL.
        raw: NLL of the new answer before the edit.
    """

    step: int
    loss: float
    edit: float
    locality: float
    raw: float


@dataclass(slots=True)
class _State:
    """What a training has come to.

    Attributes:
        step: optimiser steps made.
        skipped: steps whose gradient was not finite.
        history: of validations.
        best: tensors of the hypernetwork at the best validation.
    """

    step: int = 0
    skipped: int = 0
    history: list[Validation] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def best_validation(self) -> Validation | None:
        finite = [validation for validation in self.history if math.isfinite(validation.loss)]
        return min(finite, key=lambda validation: validation.loss, default=None)


def train(
    model: EditableModel,
    network: Hypernetwork,
    weights: InnerWeights,
    split: Split,
    settings: TrainingSettings,
    *,
    seed: int,
    store: Store | None,
    progress: Progress,
) -> list[Validation]:
    """Train `network` in place and leave it as it was at its best validation.

    Args:
        model: unedited; left as found.
        network: freshly initialised.
        weights: that it edits.
        split: what to train and validate on.
        settings: of the training.
        seed: of the order of the requests.
        store: where an interrupted training left its state, and where this one puts its own.
        progress: told the step.

    Returns:
        Every validation, in order; the first is before any step.

    Raises:
        EditorError: no validation loss was finite.
    """
    with model.fast_kernels():
        return _Training(model, network, weights, split, settings, seed, store, progress).run()


class _Training:
    """One training; see `train`."""

    def __init__(
        self,
        model: EditableModel,
        network: Hypernetwork,
        weights: InnerWeights,
        split: Split,
        settings: TrainingSettings,
        seed: int,
        store: Store | None,
        progress: Progress,
    ) -> None:
        self.model, self.network, self.weights = model, network, weights
        self.settings, self.seed, self.store, self.progress = settings, seed, store, progress
        self.training = [Example.of(model, request, settings.outer) for request in split.training]
        self.validation = [Example.of(model, request, settings.outer) for request in split.validation]
        self.budget = gradient_budget(model)
        self.states = self._hidden_states()
        self.optimiser = torch.optim.Adam(
            [
                {"params": list(network.transforms.parameters()), "lr": settings.learning_rate},
                {"params": [network.edit_lrs], "lr": settings.edit_lr_learning_rate},
            ]
        )
        self.state = _State()

    def run(self) -> list[Validation]:
        if not self._resume():
            self._measure_statistics()
            self._validate()
        while self.state.step < self.settings.steps and not self._out_of_patience():
            self._step()
            if self.state.step % self.settings.validate_every == 0 or self.state.step == self.settings.steps:
                self._validate()
        if not self.state.best:
            raise EditorError(
                f"training mend for {self.model.name!r}: no validation loss was finite; lower mend.learning_rate "
                "and the size of mend.edit_lr"
            )
        self.network.load_state_dict(self.state.best)
        return self.state.history

    # Work that memory bounds ------------------------------------------------------------------------------

    def _hidden_states(self) -> dict[tuple[int, ...], torch.Tensor]:
        rows = [row for example in (*self.training, *self.validation) for row in example.rows]
        budget = scoring_budget(self.model)
        block = self.weights.first_block

        def work() -> dict[tuple[int, ...], torch.Tensor]:
            return hidden_by_ids(self.model, rows, block, max_tokens=budget.tokens, progress=self.progress)

        return budget.run(work, max(len(row.ids) for row in rows))

    def _in_passes(self, examples: Sequence[Example], work: Callable[[Sequence[Example]], None]) -> None:
        """`work` on parts of `examples` that fit the budget."""
        longest = max(len(row.ids) for example in examples for row in example.rows)
        widest = max(len(example.rows) for example in examples)
        size = max(1, self.budget.tokens // (longest * widest))
        for start in range(0, len(examples), size):
            work(examples[start : start + size])

    def _within_budget(self, examples: Sequence[Example], work: Callable[[], Result]) -> Result:
        least = max(len(row.ids) * len(example.rows) for example in examples for row in example.rows)
        return self.budget.run(work, least)

    # Parts ------------------------------------------------------------------------------------------------

    def _measure_statistics(self) -> None:
        """Mean and deviation of the raw factors of all training requests, per shape."""
        gathered = self._within_budget(self.training, self._statistics)
        for transform, (inputs, gradients) in gathered.items():
            self.network.transform_of(transform).normalise_by(inputs, gradients)

    def _statistics(self) -> dict[str, tuple[Statistics, Statistics]]:
        network, device = self.network, self.model.device
        representative = {id(network.transform_of(name)): name for name in reversed(self.weights.names)}
        found = {
            name: (
                Statistics.empty(network.transform_of(name).in_features, device),
                Statistics.empty(network.transform_of(name).out_features, device),
            )
            for name in representative.values()
        }
        done = 0

        def add(examples: Sequence[Example]) -> None:
            nonlocal done
            self.progress("mend: measuring gradients", done, len(self.training))
            raw, _ = gradient_factors(
                self.model, self.weights, RowBatch.of([example.edit for example in examples], self.states)
            )
            for name, factors in raw.items():
                inputs, gradients = found[representative[id(network.transform_of(name))]]
                inputs.add(factors.inputs[factors.used])
                gradients.add(factors.gradients[factors.used])
            done += len(examples)

        self._in_passes(self.training, add)
        return found

    def _step(self) -> None:
        examples = self._batch(self.state.step)
        best = self.state.best_validation
        shown = "not finite" if best is None else f"{best.loss:.3f}"
        self.progress(f"mend: training, validation loss {shown}", self.state.step, self.settings.steps)
        self._within_budget(examples, lambda: self._gradient(examples))
        parameters = list(self.network.parameters())
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)
        if math.isfinite(float(norm)):
            self._set_learning_rates()
            self.optimiser.step()
        else:
            self.state.skipped += 1
        self.state.step += 1

    def _set_learning_rates(self) -> None:
        """By the step alone, so that a resumed training has them without a schedule of its own to restore."""
        left = 1 - self.state.step / self.settings.steps if self.settings.decay else 1.0
        rates = self.settings.learning_rate, self.settings.edit_lr_learning_rate
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * left

    def _gradient(self, examples: Sequence[Example]) -> None:
        self.optimiser.zero_grad()  # also of what a pass left behind that ran out of memory

        def add(part: Sequence[Example]) -> None:
            losses = example_losses(self.model, self.network, self.weights, part, self.states)
            (losses.total(self.settings).sum() / len(examples)).backward()

        self._in_passes(examples, add)

    def _batch(self, step: int) -> list[Example]:
        """The requests of a step; a function of seed and step alone, so that a resumed training sees the same."""
        count, size = len(self.training), min(self.settings.batch_size, len(self.training))
        per_epoch = count // size
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step // per_epoch)
        order = torch.randperm(count, generator=generator).tolist()
        start = step % per_epoch * size
        chosen = [self.training[index] for index in order[start : start + size]]
        return sorted(chosen, key=lambda example: len(example.edit.ids))  # so that passes pad little

    @torch.no_grad()
    def _validate(self) -> None:
        parts: list[torch.Tensor] = []

        def work() -> None:
            parts.clear()
            self._in_passes(self.validation, lambda part: parts.append(self._measured(part)))

        self._within_budget(self.validation, work)
        loss, edit, locality, raw = torch.cat(parts, 1).mean(1).tolist()
        found = Validation(self.state.step, loss, edit, locality, raw)
        before = self.state.best_validation
        self.state.history.append(found)
        if math.isfinite(loss) and (before is None or loss < before.loss):
            self.state.best = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        if self.store is not None:
            self.store.write(self.store.interrupted, self._stored())

    def _measured(self, part: Sequence[Example]) -> torch.Tensor:
        losses = example_losses(self.model, self.network, self.weights, part, self.states)
        return torch.stack([losses.total(self.settings), losses.edit, losses.locality, losses.raw]).double()

    def _out_of_patience(self) -> bool:
        best = self.state.best_validation
        since = [one for one in self.state.history if best is None or one.step > best.step]
        return len(since) >= self.settings.patience

    # Interruption -----------------------------------------------------------------------------------------

    def _stored(self) -> Stored:
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.state.best.items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in moments.items()}
        history = [[one.step, one.loss, one.edit, one.locality, one.raw] for one in self.state.history]
        return Stored(tensors, {"step": self.state.step, "skipped": self.state.skipped, "history": history})

    def _resume(self) -> bool:
        """Take up the state that an interrupted training left; whether there is one."""
        stored = None if self.store is None else self.store.read(self.store.interrupted)
        if stored is None:
            return False
        device = self.model.device
        self.network.load_state_dict({name: tensor.to(device) for name, tensor in _below("network.", stored).items()})
        self.state = _State(
            step=stored.facts["step"],
            skipped=stored.facts["skipped"],
            history=[Validation(*row) for row in stored.facts["history"]],
            best={name: tensor.to(device) for name, tensor in _below("best.", stored).items()},
        )
        moments: dict[int, dict[str, Any]] = {}
        for name, tensor in _below("optimiser.", stored).items():
            number, _, leaf = name.partition(".")
            moments.setdefault(int(number), {})[leaf] = tensor
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})
        return True


def _below(prefix: str, stored: Stored) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in stored.tensors.items() if name.startswith(prefix)}
