"""MEND: a trained network turns the gradient of one request into an edit.

Mitchell et al. 2022, 'Fast Model Editing at Scale', as EasyEdit computes it: see `hypernetwork` for the form of the
edit and `training` for the loss. An edit is applied with the statistics of training, in evaluation mode. The code that
the study of collapse ran applied it in training mode, where the first edit replaces the statistics by its own few
tokens; that is a slip of that code and not of the method, and is not reproduced.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field

from collapse_tests.cache import discard_abandoned, exclusive
from collapse_tests.datasets.requests import load_requests
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.hparams import Hyperparameters
from collapse_tests.editors.mend.checkpoints import Store, Stored, checkpoint_key
from collapse_tests.editors.mend.gradients import (
    InnerWeights,
    RowBatch,
    TargetRow,
    gradient_factors,
    hidden_by_ids,
    low_rank_updates,
    request_row,
)
from collapse_tests.editors.mend.hypernetwork import Hypernetwork
from collapse_tests.editors.mend.requests import (
    Split,
    check_disjoint,
    data_digest,
    split_requests,
    text_digests,
    without_duplicates,
)
from collapse_tests.editors.mend.training import Outer, TrainingSettings, Validation, train
from collapse_tests.editors.mend.training_requests import generated_requests
from collapse_tests.editors.protocol import EditorContext
from collapse_tests.errors import EditorError, UsageError
from collapse_tests.models.batching import length_buckets
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.memory import TokenBudget
from collapse_tests.models.workload import gradient_budget, pass_overhead
from collapse_tests.weight_update import WeightUpdate

__all__ = ["Mend", "MendHyperparameters"]


class MendHyperparameters(Hyperparameters):
    """Fields of `hparams/mend/*.yaml`; see `TrainingSettings` for those of the training.

    Attributes:
        blocks: how many of the last blocks are edited, each in all linear layers of its MLP.
        rank: of the hypernetwork's layers.
        hidden_layers: of the hypernetwork, before its last layer.
        edit_lr: initial step size of every weight; negative is gradient descent.
        training_requests: request files or shipped sets to train on; none for those that are generated here.
        validation_edits: request files or shipped sets to validate on; none to hold out some of the others.
        validation_requests: how many to hold out then.
        train_on_first_use: whether a run may train; if not, only `collapse-prepare` does.
    """

    blocks: int = Field(ge=1)
    rank: int = Field(ge=1)
    hidden_layers: int = Field(ge=0)
    edit_lr: float = Field(allow_inf_nan=False)
    steps: int = Field(ge=0)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    edit_lr_learning_rate: float = Field(ge=0)
    decay: bool = False
    edit_factor: float = Field(ge=0)
    locality_factor: float = Field(ge=0)
    base_factor: float = Field(ge=0)
    outer: Outer = "rephrase"
    gradient_clip: float = Field(gt=0)
    validate_every: int = Field(ge=1)
    patience: int = Field(ge=1)
    training_requests: tuple[str, ...] = ()
    validation_edits: tuple[str, ...] = ()
    validation_requests: int = Field(default=48, ge=1)
    train_on_first_use: bool = True

    @property
    def training(self) -> TrainingSettings:
        """The part that the training needs."""
        names = [field.name for field in dataclasses.fields(TrainingSettings)]
        return TrainingSettings(**{name: getattr(self, name) for name in names})


class Mend:
    """The MEND editor.

    Args:
        name: `mend`.
        hyperparameters: of the method.
        requests: to train on instead of generated ones, where the hyper-parameters name none.

    Attributes:
        prepared_path: where the hypernetwork in use is stored, or None.
        history: validations of its training.
    """

    def __init__(
        self, name: str, hyperparameters: MendHyperparameters, requests: Sequence[EditRequest] | None = None
    ) -> None:
        self.name = name
        self.hyperparameters = hyperparameters
        self.prepared_path: Path | None = None
        self.history: list[Validation] = []
        self._requests = requests
        self._weights: InnerWeights | None = None
        self._network: Hypernetwork | None = None
        self._weight_norm = math.nan
        self._trained_on: frozenset[str] = frozenset()
        self._validated_on: frozenset[str] = frozenset()
        self._budget: TokenBudget | None = None

    # Preparation ------------------------------------------------------------------------------------------

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        """Load the hypernetwork for `model` from the cache, or train it.

        Raises:
            UsageError: the model has too few blocks, the training requests do not do, or a run may not train.
            EditorError: training diverged from the start.
        """
        self._weights = InnerWeights.of_last_blocks(model, self.hyperparameters.blocks)
        split = self._split(context)
        network = self.new_network(model, self._weights, context.seed)
        if context.cache is None:
            facts = self._train(model, network, split, context, store=None)
        else:
            facts = self._load_or_train(model, network, split, context, context.cache)
        self.use(model, network, facts)

    def use(self, model: EditableModel, network: Hypernetwork, facts: dict[str, object] | None = None) -> None:
        """Edit `model` with a hypernetwork, and note the requests among `facts` that it was trained on."""
        facts = facts or {}
        self._weights = InnerWeights.of_last_blocks(model, self.hyperparameters.blocks)
        self._network = network.eval().requires_grad_(False)
        self._weight_norm = math.hypot(
            *(float(torch.linalg.vector_norm(model.parameter(name).double())) for name in self._weights.names)
        )
        self._trained_on, self._validated_on = (
            frozenset(_strings(facts.get(key))) for key in ("training", "validation")
        )
        rows = facts.get("history")
        self.history = [Validation(*row) for row in rows] if isinstance(rows, list) else []

    def new_network(self, model: EditableModel, weights: InnerWeights, seed: int) -> Hypernetwork:
        """An untrained hypernetwork for the edited weights of `model`."""
        fields = self.hyperparameters
        network = Hypernetwork(
            {name: model.weight_shape(name) for name in weights.names},
            rank=fields.rank,
            hidden_layers=fields.hidden_layers,
            edit_lr=fields.edit_lr,
            seed=seed,
        )
        return network.to(model.device, torch.promote_types(model.dtype, torch.float32))

    def _split(self, context: EditorContext) -> Split:
        fields = self.hyperparameters
        if fields.training_requests:
            requests = [named.request for source in fields.training_requests for named in load_requests(source)]
        else:
            requests = list(generated_requests(context.seed)) if self._requests is None else list(self._requests)
        requests, _ = without_duplicates(requests)
        if not fields.validation_edits:
            split, dropped = split_requests(requests, fields.validation_requests, context.seed)
            if dropped:
                context.progress(f"mend: {dropped} training requests dropped, held-out ones have their texts", 0, 1)
            return split
        held_out = [named.request for source in fields.validation_edits for named in load_requests(source)]
        check_disjoint(requests, held_out, "validation")
        return Split(tuple(requests), tuple(held_out))

    def _load_or_train(
        self, model: EditableModel, network: Hypernetwork, split: Split, context: EditorContext, cache: Path
    ) -> dict[str, object]:
        fields = self.hyperparameters.model_dump(
            mode="json", exclude={"training_requests", "validation_edits", "validation_requests", "train_on_first_use"}
        )
        directory = cache / "mend" / checkpoint_key(model.digest, fields, data_digest(split), context.seed)
        store = Store(directory)
        self.prepared_path = store.finished
        stored = store.read(store.finished)
        if stored is None:
            if not self.hyperparameters.train_on_first_use:
                raise UsageError(self._untrained(model))
            with exclusive(directory, lambda line: context.progress(line, 0, 1)):
                stored = store.read(store.finished)  # another process may have trained it meanwhile
                if stored is None:
                    for path in (store.finished, store.interrupted):
                        discard_abandoned(path)
                    facts = self._train(model, network, split, context, store)
                    stored = Stored(network.state_dict(), facts)
                    store.write(store.finished, stored)
                    store.interrupted.unlink(missing_ok=True)
        network.load_state_dict({name: tensor.to(model.device) for name, tensor in stored.tensors.items()})
        return dict(stored.facts)

    def _untrained(self, model: EditableModel) -> str:
        sources = "".join(f" --edits {source}" for source in self.hyperparameters.training_requests)
        return (
            f"--editor {self.name}: no hypernetwork has been trained for model {model.name!r} with these settings and "
            f"this seed; train it with `collapse-prepare {self.name} --model {model.name}{sources}`, or let the run "
            f"do so with --set {self.name}.train_on_first_use=true"
        )

    def _train(
        self, model: EditableModel, network: Hypernetwork, split: Split, context: EditorContext, store: Store | None
    ) -> dict[str, object]:
        assert self._weights is not None
        history = train(
            model,
            network,
            self._weights,
            split,
            self.hyperparameters.training,
            seed=context.seed,
            store=store,
            progress=context.progress,
        )
        return {
            "model": model.name,
            "training": sorted(digest for request in split.training for digest in text_digests(request)),
            "validation": sorted(digest for request in split.validation for digest in text_digests(request)),
            "history": [list(dataclasses.astuple(validation)) for validation in history],
        }

    # Editing ----------------------------------------------------------------------------------------------

    @property
    def network(self) -> Hypernetwork:
        """The hypernetwork in use.

        Raises:
            EditorError: `prepare` was not called.
        """
        if self._network is None:
            raise EditorError(f"{self.name}: prepare() has to be called before compute_updates()")
        return self._network

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        """One low-rank update per request; see `Editor`. Its rank is at most the tokens of prompt and answer.

        Raises:
            EditorError: `prepare` was not called.
        """
        network = self.network
        if not requests:
            return []
        rows = [request_row(model, request) for request in requests]
        if self._budget is None:
            self._budget = gradient_budget(model)
        computed = self._budget.run(lambda: self._batches(model, network, rows), max(len(row.ids) for row in rows))
        return [
            self._described(request, update, loss) for request, (update, loss) in zip(requests, computed, strict=True)
        ]

    def _batches(
        self, model: EditableModel, network: Hypernetwork, rows: Sequence[TargetRow]
    ) -> list[tuple[WeightUpdate, float]]:
        """Update and raw loss of every row, those of about one length together."""
        assert self._budget is not None
        assert self._weights is not None
        max_tokens = self._budget.tokens
        states = hidden_by_ids(model, rows, self._weights.first_block, max_tokens=max_tokens)
        found: dict[int, tuple[WeightUpdate, float]] = {}
        lengths = [len(row.ids) for row in rows]
        for bucket in length_buckets(lengths, max_tokens=max_tokens, overhead=pass_overhead(model)):
            batch = RowBatch.of([rows[index] for index in bucket], states)
            raw, losses = gradient_factors(model, self._weights, batch)
            with torch.no_grad():
                updates = low_rank_updates(raw, network(raw))
            found |= dict(zip(bucket, zip(updates, losses.tolist(), strict=True), strict=True))
        return [found[index] for index in range(len(rows))]

    def _described(self, request: EditRequest, update: WeightUpdate, loss: float) -> WeightUpdate:
        digests = text_digests(request)
        notes: tuple[str, ...] = ()
        if digests & self._trained_on:
            notes = ("MEND's hypernetwork was trained on this request: the edit shows what it learned by heart",)
        elif digests & self._validated_on:
            notes = ("MEND's hypernetwork was chosen by its loss on this request, among others",)
        norm = update.norm()
        diagnostics = {
            "update_norm": norm,
            "update_norm_ratio": norm / self._weight_norm,
            "raw_loss": loss,
            "rank": float(max(getattr(delta, "rank", 0) for delta in update.deltas.values())),
            "trained_on": float(bool(notes)),
        }
        return WeightUpdate(update.deltas, diagnostics, notes)


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
