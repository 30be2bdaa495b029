"""Downstream accuracy under weight updates: the same requests for each, scored side by side.

What lm-eval asks is built once per run. The options of a question share the pass over it, hidden states below the
edited block are kept, and many low-rank updates share a forward pass, as with perplexity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from collapse_tests.engine.generation import Generated, generate
from collapse_tests.engine.scoring import RowCache, Scorer
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.metrics.downstream.plan import Generation, PlannedPart, PlannedTask
from collapse_tests.metrics.item_scores import ChanceModel, ItemScores
from collapse_tests.metrics.rows import RowScore
from collapse_tests.models.editable import EditableModel
from collapse_tests.records import TaskResult
from collapse_tests.verdict import choice_chance, generative_floor, task_verdict
from collapse_tests.verdict.permutation import evenly_spaced
from collapse_tests.weight_update import WeightUpdate

__all__ = ["Downstream"]

#: Tokens that lm-eval generates where a task does not say.
_DEFAULT_TOKENS = 256


class Downstream:
    """Tasks on one model.

    Args:
        scorer: of the model, unedited now.
        tasks: with their requests.
        gate_on_drop: whether a significant drop below the unedited model fails a task.

    Raises:
        InfrastructureError: the unedited model's scores are not finite.
        UsageError: a task's items get parts of a point without being graded answers.
    """

    def __init__(self, scorer: Scorer, tasks: Sequence[PlannedTask], *, gate_on_drop: bool = False) -> None:
        self.scorer = scorer
        self.tasks = tuple(tasks)
        self.gate_on_drop = gate_on_drop
        self._rows = RowCache([row for task in tasks for row in task.rows], predict=True)
        # From the embeddings on, so that it needs no block.
        scores, texts = self._on_weights(scorer.model.n_blocks)
        self._unedited = self._items(scores, texts)
        for task, items in zip(self.tasks, self._unedited, strict=True):
            if not items.finite:
                raise InfrastructureError(f"the unedited model's scores on the task {task.name} are not finite numbers")
            if items.cross is None and not set(items.values) <= {0.0, 1.0}:
                raise UsageError(
                    f"--tasks {task.name!r}: its {task.metric} gives parts of a point, which cannot be tested against "
                    "chance; leave it out"
                )
        self._chance = [
            _chance(task, answers) for task, answers in zip(self.tasks, self._by_task(scores, texts), strict=True)
        ]

    def unedited(self) -> tuple[TaskResult, ...]:
        """Results of every task on the unedited model."""
        return self._compared(self._unedited)

    def measure(self, updates: Sequence[WeightUpdate]) -> list[tuple[TaskResult, ...]]:
        """Results of every task under each update."""
        scores = self.scorer.shared(self._rows, updates) if self._rows.layouts else [[] for _ in updates]
        texts = [self._generated_under(update) for update in updates]
        return [self._judged(*measured) for measured in zip(scores, texts, strict=True)]

    def as_is(self, block: int) -> tuple[TaskResult, ...]:
        """Results of every task on the weights as they are, of which those from `block` on may be edited."""
        return self._judged(*self._on_weights(block))

    # Measuring --------------------------------------------------------------------------------------------

    def _on_weights(self, block: int) -> tuple[list[RowScore], list[Generated]]:
        scores = self.scorer.as_is(self._rows, block) if self._rows.layouts else []
        return scores, self._generated()

    def _generated_under(self, update: WeightUpdate) -> list[Generated]:
        model = self.scorer.model
        if not any(task.generations for task in self.tasks):
            return []
        if model.shareable(update):
            with _for_all_rows(model, update):
                return self._generated()
        with model.applied(update):
            return self._generated()

    def _generated(self) -> list[Generated]:
        """Texts of all tasks, in order; requests with the same settings are decoded together."""
        requests = [generation for task in self.tasks for generation in task.generations]
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(repr(request.settings), []).append(index)
        found: dict[int, Generated] = {}
        for indices in groups.values():
            found.update(zip(indices, self._decoded([requests[index] for index in indices]), strict=True))
        return [found[index] for index in range(len(requests))]

    def _decoded(self, requests: Sequence[Generation]) -> list[Generated]:
        from lm_eval.models.utils import normalize_gen_kwargs

        settings: Any = normalize_gen_kwargs(requests[0].settings, _DEFAULT_TOKENS)
        model = self.scorer.model
        prompts = [model.tokenizer.encode(request.context) for request in requests]
        return generate(model, prompts, settings["max_gen_toks"], settings["until"])

    # Judging ----------------------------------------------------------------------------------------------

    def _by_task(
        self, scores: Sequence[RowScore], texts: Sequence[Generated]
    ) -> list[tuple[Sequence[RowScore], Sequence[Generated]]]:
        """What belongs to each task."""
        parts, score, text = [], 0, 0
        for task in self.tasks:
            parts.append((scores[score : score + task.scores], texts[text : text + len(task.generations)]))
            score, text = score + task.scores, text + len(task.generations)
        return parts

    def _items(self, scores: Sequence[RowScore], texts: Sequence[Generated]) -> list[ItemScores]:
        return [
            _item_scores(task, own_scores, own_texts)
            for task, (own_scores, own_texts) in zip(self.tasks, self._by_task(scores, texts), strict=True)
        ]

    def _judged(self, scores: Sequence[RowScore], texts: Sequence[Generated]) -> tuple[TaskResult, ...]:
        return self._compared(self._items(scores, texts))

    def _compared(self, items: Sequence[ItemScores]) -> tuple[TaskResult, ...]:
        return tuple(
            task_verdict(task.name, str(task.metric), chance, before, after, gate_on_drop=self.gate_on_drop)
            for task, chance, before, after in zip(self.tasks, self._chance, self._unedited, items, strict=True)
        )


def _for_all_rows(model: EditableModel, update: WeightUpdate) -> Any:
    """`update` side by side with nothing: every row of a pass, however many there are, sees it."""
    return model.side_by_side([update], torch.zeros(1, dtype=torch.long, device=model.device))


def _item_scores(task: PlannedTask, scores: Sequence[RowScore], texts: Sequence[Generated]) -> ItemScores:
    return task.item_scores(scores, [one.text for one in texts], finite=all(one.finite for one in texts))


def _chance(task: PlannedTask, measured: tuple[Sequence[RowScore], Sequence[Generated]]) -> ChanceModel:
    """What chance reaches on a task, given the unedited model's scores and texts."""
    if all(part.is_choice for part in task.parts):
        items = [item for part in task.parts for item in part.options()]
        sizes = [[float(len(option)) for option in options] for options, _ in items]
        return choice_chance([len(options) for options, _ in items], [gold for _, gold in items], sizes)
    floors = []
    text = 0
    for part in task.parts:
        own = [one.text for one in measured[1][text : text + len(part.generations)]]
        floors.append(_floor(part, own))
        text += len(part.generations)
    # One floor for all parts, the highest: a task made of several is judged as one.
    best = max(floors, key=lambda floor: floor.rates[0])
    return ChanceModel((best.rates[0],) * sum(len(floor.rates) for floor in floors), best.note)


def _floor(part: PlannedPart, answers: Sequence[str]) -> ChanceModel:
    references = part.references
    some = evenly_spaced(len(references))
    floor = generative_floor(
        [references[index] for index in some],
        [answers[index] for index in some] if answers else [],
        lambda text, item: part.value(text, some[item]),
    )
    return ChanceModel((floor.rates[0],) * len(references), floor.note)
