"""Downstream accuracy of a run as plain rows, without any layout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from collapse_tests.records import Record, TaskResult, TaskVerdict, Verdict

__all__ = ["TaskSummary", "caught_by_tasks_alone", "summarise_tasks"]


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """One task over all cases of one model under one editor.

    Attributes:
        model, editor, task, metric: what they share.
        cases: in how many it was measured.
        items: of the task.
        chance, unedited: scores that chance and the unedited model reach.
        survived, collapsed: mean score of the cases that survived, effective or not, and of those that collapsed; a
            score that is no number counts as 0. None where there is no such case.
        lowest: the lowest score; NaN if one is no number.
        failed: in how many cases the task was `RANDOM` or `DROPPED`.
        informative: whether the unedited model has a margin over chance.
    """

    model: str
    editor: str
    task: str
    metric: str
    cases: int
    items: int
    chance: float
    unedited: float
    survived: float | None
    collapsed: float | None
    lowest: float
    failed: int
    informative: bool


def summarise_tasks(records: Iterable[Record]) -> list[TaskSummary]:
    """One summary per (model, editor, task), in the order in which they first occur."""
    groups: dict[tuple[str, str, str], list[tuple[Record, TaskResult]]] = {}
    for record in records:
        for result in record.tasks:
            groups.setdefault((record.model, record.editor, result.task), []).append((record, result))
    return [_summary(group) for group in groups.values()]


def caught_by_tasks_alone(records: Iterable[Record]) -> list[Record]:
    """Collapsed cases whose ME-PPL is finite and below the limit."""
    return [
        record
        for record in records
        if record.verdict is Verdict.COLLAPSED and record.edited is not None and record.edited.me_ppl < record.ppl_limit
    ]


def _summary(group: Sequence[tuple[Record, TaskResult]]) -> TaskSummary:
    record, result = group[0]
    results = [one for _, one in group]
    return TaskSummary(
        model=record.model,
        editor=record.editor,
        task=result.task,
        metric=result.metric,
        cases=len(group),
        items=result.items,
        chance=result.chance,
        unedited=result.unedited,
        survived=_mean(one for case, one in group if case.verdict is not Verdict.COLLAPSED),
        collapsed=_mean(one for case, one in group if case.verdict is Verdict.COLLAPSED),
        lowest=min((one.edited for one in results), key=lambda score: (not math.isnan(score), score)),
        failed=sum(one.verdict in (TaskVerdict.RANDOM, TaskVerdict.DROPPED) for one in results),
        informative=any(one.verdict is not TaskVerdict.UNINFORMATIVE for one in results),
    )


def _mean(results: Iterable[TaskResult]) -> float | None:
    scores = [0.0 if math.isnan(result.edited) else result.edited for result in results]
    return fmean(scores) if scores else None
