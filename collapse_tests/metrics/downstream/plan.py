"""A task's requests, built once: they are the same for every edit, only the answers differ.

lm-eval builds requests anew for every evaluation, which takes longer than scoring them. Here each task's documents,
requests and rendered templates are kept, and only responses are put in and taken out again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from types import SimpleNamespace
from typing import Any

from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.metrics.downstream.encoding import continuation_pairs, rolling_pairs
from collapse_tests.metrics.downstream.gating import GATING, GRADED, gating_metric, numbers
from collapse_tests.metrics.downstream.loading import LoadedTask, quiet
from collapse_tests.metrics.downstream.templates import ByDocument
from collapse_tests.metrics.item_scores import CrossScore, ItemScores
from collapse_tests.metrics.rows import ForkedRow, RowScore
from collapse_tests.models.editable import EditableModel

__all__ = ["Generation", "PlannedPart", "PlannedTask", "Response", "plan_task"]

#: lm-eval's default seed for the examples of a few-shot prompt.
_FEWSHOT_SEED = 1234

Response = Any
"""What lm-eval takes as the response to a request: (log-likelihood, greedy), a log-likelihood, or a text."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One request for text.

    Attributes:
        context: the prompt.
        settings: lm-eval's generation settings, such as `until`.
    """

    context: str
    settings: dict[str, Any]


class PlannedPart:
    """One task of lm-eval with its requests.

    Args:
        task: lm-eval's task object.
        model: whose tokenizer encodes the requests.
        limit: most documents, or None for all.

    Attributes:
        rows: what to score.
        generations: what to generate.
        scores: how many scores the rows get.

    Raises:
        InfrastructureError: lm-eval could not build the requests.
    """

    def __init__(self, task: Any, model: EditableModel, limit: int | None) -> None:
        self.task = task
        self._remember_templates()
        with quiet():
            try:
                if hasattr(task, "set_fewshot_seed"):
                    task.set_fewshot_seed(_FEWSHOT_SEED)
                task.build_all_requests(limit=limit, rank=0, world_size=1)
            except Exception as error:
                raise InfrastructureError(f"lm-eval could not build the requests of {self.name} ({error!r})") from error
        self.instances: list[Any] = list(task.instances)
        # The documents that requests were built from are what their templates are remembered for.
        self.documents = {instance.doc_id: instance.doc for instance in self.instances}
        self.rows: list[ForkedRow] = []
        self.scores = 0
        self._slots: dict[int, list[int]] = {}  # instance → its scores among those of the rows
        self._fork(model)
        self._roll(model)
        self.generations = [Generation(*self.instances[index].args) for index in self._of_kind("generate_until")]

    @property
    def name(self) -> str:
        """lm-eval's name."""
        return str(self.task.config.task)

    @cached_property
    def metric(self) -> str | None:
        """The metric that gates, or None where no metric can have a value from 0 to 1 for each item."""
        return gating_metric(self.task)

    def _remember_templates(self) -> None:
        for name in ("doc_to_text", "doc_to_target", "doc_to_choice"):
            if hasattr(self.task, name):
                setattr(self.task, name, ByDocument.of(getattr(self.task, name)))

    # Requests ---------------------------------------------------------------------------------------------

    def _of_kind(self, kind: str) -> list[int]:
        kinds = {"multiple_choice": "loglikelihood"}
        return [
            index
            for index, instance in enumerate(self.instances)
            if kinds.get(instance.request_type, instance.request_type) == kind
        ]

    def _fork(self, model: EditableModel) -> None:
        """Continuations of one context, such as the options of one question, share a row."""
        indices = self._of_kind("loglikelihood")
        forks: dict[tuple[int, tuple[int, ...]], list[tuple[int, tuple[int, ...]]]] = {}
        pairs = continuation_pairs(model, [self.instances[index] for index in indices])
        for index, (context, continuation) in zip(indices, pairs, strict=True):
            forks.setdefault((self.instances[index].doc_id, context), []).append((index, continuation))
        for (_, context), branches in forks.items():
            self.rows.append(ForkedRow(context, tuple(continuation for _, continuation in branches)))
            self._slots |= {index: [slot] for slot, (index, _) in enumerate(branches, start=self.scores)}
            self.scores += len(branches)

    def _roll(self, model: EditableModel) -> None:
        indices = self._of_kind("loglikelihood_rolling")
        for index, windows in zip(
            indices, rolling_pairs(model, [self.instances[index] for index in indices]), strict=True
        ):
            self.rows += [ForkedRow(context, (continuation,)) for context, continuation in windows]
            self._slots[index] = list(range(self.scores, self.scores + len(windows)))
            self.scores += len(windows)

    # Answers that are known to be right -------------------------------------------------------------------

    @property
    def is_choice(self) -> bool:
        """Whether every item has options."""
        return bool(self.task.OUTPUT_TYPE == "multiple_choice")

    def options(self) -> list[tuple[list[str], tuple[int, ...]]]:
        """The options of every item and the indices of those that count as right."""
        found = []
        for document in self.documents.values():
            options = [str(option) for option in self.task.doc_to_choice(document)]
            by_input = getattr(self.task, "multiple_input", 0)
            gold = (self.task.doc_to_text if by_input else self.task.doc_to_target)(document)
            labels = gold if isinstance(gold, list) else [gold]
            right = {options.index(label) if isinstance(label, str) else int(label) for label in labels}
            found.append((options, tuple(sorted(right))))
        return found

    @cached_property
    def references(self) -> list[list[str]]:
        """The accepted answers of every item."""
        targets = [self.task.doc_to_target(document) for document in self._documents]
        return [[str(one) for one in target] if isinstance(target, list) else [str(target)] for target in targets]

    @cached_property
    def _documents(self) -> list[Any]:
        return list(self.documents.values())

    def value(self, text: str, item: int) -> float:
        """What `text` would get as the answer to the item of that index."""
        if not self.generations:
            return float(text in self.references[item])
        document = self._documents[item]
        # As in `results`: the first of the task's filters.
        response = SimpleNamespace(resps=[text], doc=document, filtered_resps={})
        self.task._filters[0].apply([response])
        filtered = list(response.filtered_resps.values())
        return float(self.task.process_results(document, filtered)[self.metric])

    # Responses --------------------------------------------------------------------------------------------

    def responses(self, scores: Sequence[RowScore], texts: Sequence[str]) -> list[Response]:
        """Responses in the order of `instances` from the scores of `rows` and the texts of `generations`."""
        generated = iter(texts)
        return [self._response(index, scores, generated) for index in range(len(self.instances))]

    def _response(self, index: int, scores: Sequence[RowScore], generated: Any) -> Response:
        if index not in self._slots:
            return next(generated)
        own = [scores[slot] for slot in self._slots[index]]
        if self.instances[index].request_type == "loglikelihood_rolling":
            return -sum(score.nll for score in own)
        return -own[0].nll, own[0].greedy_match

    def results(self, responses: Sequence[Response]) -> dict[str, list[Any]]:
        """Every metric's value for every document, by lm-eval's filters and `process_results`."""
        for instance, response in zip(self.instances, responses, strict=True):
            # The default filter takes the first response: one that stayed would be another model's.
            instance.resps = [response]
            instance.filtered_resps = {}
        self.task.apply_filters()
        key = next(iter(self.instances[0].filtered_resps))
        by_document: dict[int, list[Any]] = {}
        for instance in sorted(self.instances, key=lambda instance: instance.idx):
            by_document.setdefault(instance.doc_id, []).append(instance.filtered_resps[key])
        found: dict[str, list[Any]] = {}
        for number, document in self.documents.items():
            for metric, value in self.task.process_results(document, by_document[number]).items():
                found.setdefault(metric, []).append(value)
        return found

    def aggregated(self, metric: str, values: list[Any]) -> float:
        """lm-eval's aggregate of a metric's values."""
        return float(self.task.aggregation()[metric](values))


class PlannedTask:
    """A task as the user named it: one or more of lm-eval's, whose scores are averaged.

    Args:
        name: as the user gave it.
        parts: with their requests.
    """

    def __init__(self, name: str, parts: Sequence[PlannedPart]) -> None:
        self.name = name
        self.parts = tuple(parts)

    @cached_property
    def metric(self) -> str | None:
        """The metric that gates; None where the parts have none in common."""
        metrics = {part.metric for part in self.parts}
        return metrics.pop() if len(metrics) == 1 else None

    @cached_property
    def rows(self) -> list[ForkedRow]:
        """What to score, of all parts."""
        return [row for part in self.parts for row in part.rows]

    @property
    def scores(self) -> int:
        """How many scores the rows get."""
        return sum(part.scores for part in self.parts)

    @cached_property
    def generations(self) -> list[Generation]:
        """What to generate, of all parts."""
        return [generation for part in self.parts for generation in part.generations]

    def split(self, scores: Sequence[RowScore], texts: Sequence[str]) -> list[list[Response]]:
        """Responses by part."""
        responses, row, text = [], 0, 0
        for part in self.parts:
            here = scores[row : row + part.scores], texts[text : text + len(part.generations)]
            responses.append(part.responses(*here))
            row, text = row + part.scores, text + len(part.generations)
        return responses

    def item_scores(self, scores: Sequence[RowScore], texts: Sequence[str], *, finite: bool = True) -> ItemScores:
        """Values of all items and the task's score.

        Args:
            scores: of `rows`.
            texts: of `generations`.
            finite: whether the numbers that texts were chosen by are finite.
        """
        assert self.metric is not None
        values: list[float] = []
        means: list[float] = []
        for part, responses in zip(self.parts, self.split(scores, texts), strict=True):
            found = part.results(responses)[self.metric]
            values += numbers(found, self.name, self.metric)
            means.append(part.aggregated(self.metric, found))
        finite = finite and all(math.isfinite(score.nll) for score in scores)
        return ItemScores(tuple(values), fmean(means) if finite else math.nan, finite, self._cross(texts))

    def _cross(self, texts: Sequence[str]) -> CrossScore | None:
        """What each text would get on each other item, where items get more than right or wrong."""
        if self.metric not in GRADED:
            return None
        places = [(part, item) for part in self.parts for item in range(len(part.documents))]

        def cross(answer: int, item: int) -> float:
            part, place = places[item]
            return part.value(texts[answer], place)

        return cross


def plan_task(task: LoadedTask, model: EditableModel, limit: int | None) -> PlannedTask:
    """Build a task's requests for a model.

    Raises:
        UsageError: no metric of the task can be compared with chance.
        InfrastructureError: lm-eval could not build the requests.
    """
    planned = PlannedTask(task.name, [PlannedPart(part, model, limit) for part in task.parts])
    if planned.metric is None:
        raise UsageError(
            f"--tasks {task.name!r}: it reports none of {', '.join(GATING)} for each item, so there is no accuracy to "
            "compare with chance; leave it out"
        )
    return planned
