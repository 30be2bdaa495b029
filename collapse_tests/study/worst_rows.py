"""Records to rows: the worst edits of a run by ME-PPL, their downstream accuracy, and what locality misses.

After tables 1 and 3 and figure 2b of 'The Butterfly Effect of Model Editing'. A case that ended in an error, or whose
ME-PPL was not measured, is counted and left out of everything else. A score that is no number counts as 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from collapse_tests.errors import UsageError
from collapse_tests.records import Record, TaskResult, TaskVerdict, Verdict, badness
from collapse_tests.report.rows import Rate
from collapse_tests.study.association import Correlation, correlate, difference_p_value, me_ppl_ranks
from collapse_tests.study.table_files import task_columns

__all__ = [
    "MEAN_OF_TASKS",
    "TaskCorrelations",
    "TaskOfWorst",
    "WorstGroup",
    "accuracy",
    "case_rows",
    "quality_of",
    "quality_rate",
    "worst_groups",
]

#: What the mean over all tasks of a case goes by.
MEAN_OF_TASKS = "mean of tasks"


@dataclass(frozen=True, slots=True)
class TaskOfWorst:
    """One task over the worst edits.

    Attributes:
        task, metric, items: of the task.
        chance, unedited: scores that chance and the unedited model reach.
        cases: of the worst edits, how many had it measured; where 0, the next four are None.
        mean, lowest, highest: scores under these.
        at_random: in how many of them the score was not above chance; None where the task is not informative.
    """

    task: str
    metric: str
    items: int
    chance: float
    unedited: float
    cases: int
    mean: float | None
    lowest: float | None
    highest: float | None
    at_random: int | None


@dataclass(frozen=True, slots=True)
class TaskCorrelations:
    """Rank correlation of one task's accuracy with other measurements, over all measured cases of a group.

    Attributes:
        task: its name, or `MEAN_OF_TASKS`.
        me_ppl, locality, success: with each; None where it never varies or was measured less than three times.
    """

    task: str
    me_ppl: Correlation | None
    locality: Correlation | None
    success: Correlation | None


@dataclass(frozen=True, slots=True)
class WorstGroup:
    """The worst edits of one model under one editor.

    Attributes:
        model, editor: what they share.
        measured: all cases with an ME-PPL, the worst first.
        left_out: cases without one.
        count: how many of `measured` count as the worst.
        tasks: over the worst.
        local_worst: among the worst that collapsed, those whose locality is 1.
        local_collapsed, local_survived: the same among all that collapsed, and that survived, effective or not.
        local_p_value: of the difference between these two, by Fisher's exact test; None if there is no case of one.
        correlations: per task, and of their mean where there are several.
    """

    model: str
    editor: str
    measured: tuple[Record, ...]
    left_out: int
    count: int
    tasks: tuple[TaskOfWorst, ...]
    local_worst: Rate
    local_collapsed: Rate
    local_survived: Rate
    local_p_value: float | None
    correlations: tuple[TaskCorrelations, ...]

    @property
    def worst(self) -> tuple[Record, ...]:
        """The worst edits."""
        return self.measured[: self.count]


def worst_groups(records: Iterable[Record], cases: int) -> list[WorstGroup]:
    """One group per (model, editor), in the order in which they first occur.

    Args:
        records: of a run.
        cases: how many edits of each group count as its worst.

    Raises:
        UsageError: there is no record, or no edit had any task measured.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.model, record.editor), []).append(record)
    if not groups:
        raise UsageError("the run has no records; give a run in which edits were tested")
    if not any(record.tasks for group in groups.values() for record in group):
        raise UsageError(
            "no downstream task was measured in this run, so there is no accuracy to set beside ME-PPL; run the gate "
            "again with --downstream each"
        )
    return [_group(model, editor, group, cases) for (model, editor), group in groups.items()]


def case_rows(groups: Iterable[WorstGroup]) -> list[dict[str, object]]:
    """One row per measured case and task, for files; `rank` 1 is the worst of its model and editor."""
    return [
        {
            "model": group.model,
            "editor": group.editor,
            "edit_id": record.edit_id,
            "rank": rank,
            "among_worst": rank <= group.count,
            "verdict": record.verdict.value,
            "unedited_me_ppl": record.unedited.me_ppl if record.unedited else None,
            "me_ppl": _me_ppl(record),
            "success": quality_of(record, "success"),
            "generalisation": quality_of(record, "generalisation"),
            "locality": quality_of(record, "locality"),
            **task_columns(result),
        }
        for group in groups
        for rank, record in enumerate(group.measured, start=1)
        for result in record.tasks
    ]


def accuracy(result: TaskResult) -> float:
    """The score after the edit; 0 if it is no number."""
    return 0.0 if math.isnan(result.edited) else result.edited


def quality_of(record: Record, name: str) -> bool | None:
    """`success`, `generalisation` or `locality` of a case; None where it was not measured."""
    return None if record.quality is None else getattr(record.quality, name)


def quality_rate(records: Iterable[Record], name: str) -> Rate:
    """In how many of the cases in which it was measured the quality `name` holds."""
    known = [value for record in records if (value := quality_of(record, name)) is not None]
    return Rate(sum(known), len(known))


def _group(model: str, editor: str, records: Sequence[Record], cases: int) -> WorstGroup:
    measured = [record for record in records if record.edited is not None and record.verdict is not Verdict.ERROR]
    measured.sort(key=lambda record: record.case_id)
    measured.sort(key=lambda record: badness(_me_ppl(record)), reverse=True)  # stable: ties stay in the ids' order
    collapsed = [record for record in measured if record.verdict is Verdict.COLLAPSED]
    survived = [record for record in measured if record.verdict is not Verdict.COLLAPSED]
    rates = quality_rate(collapsed, "locality"), quality_rate(survived, "locality")
    worst = measured[:cases]
    return WorstGroup(
        model=model,
        editor=editor,
        measured=tuple(measured),
        left_out=len(records) - len(measured),
        count=len(worst),
        tasks=tuple(_tasks(measured, worst)),
        local_worst=quality_rate((record for record in worst if record.verdict is Verdict.COLLAPSED), "locality"),
        local_collapsed=rates[0],
        local_survived=rates[1],
        local_p_value=difference_p_value(*rates),
        correlations=tuple(_correlations(measured)),
    )


def _me_ppl(record: Record) -> float:
    assert record.edited is not None
    return record.edited.me_ppl


def _by_task(records: Iterable[Record]) -> dict[str, list[tuple[Record, TaskResult]]]:
    found: dict[str, list[tuple[Record, TaskResult]]] = {}
    for record in records:
        for result in record.tasks:
            found.setdefault(result.task, []).append((record, result))
    return found


def _tasks(measured: Sequence[Record], worst: Sequence[Record]) -> list[TaskOfWorst]:
    own = _by_task(worst)
    return [
        _task([result for _, result in pairs], [result for _, result in own.get(task, [])])
        for task, pairs in _by_task(measured).items()
    ]


def _task(everywhere: Sequence[TaskResult], worst: Sequence[TaskResult]) -> TaskOfWorst:
    first = everywhere[0]
    scores = [accuracy(result) for result in worst]
    # Without a margin it is so in every case whose scores are finite.
    informative = all(result.verdict is not TaskVerdict.UNINFORMATIVE for result in everywhere)
    at_random = sum(result.verdict is TaskVerdict.RANDOM for result in worst)
    return TaskOfWorst(
        task=first.task,
        metric=first.metric,
        items=first.items,
        chance=first.chance,
        unedited=first.unedited,
        cases=len(worst),
        mean=fmean(scores) if scores else None,
        lowest=min(scores, default=None),
        highest=max(scores, default=None),
        at_random=at_random if informative and scores else None,
    )


def _correlations(measured: Sequence[Record]) -> list[TaskCorrelations]:
    by_task = _by_task(measured)
    scored = {task: [(record, accuracy(result)) for record, result in pairs] for task, pairs in by_task.items()}
    if len(scored) > 1:
        whole = [record for record in measured if len(record.tasks) == len(scored)]
        scored[MEAN_OF_TASKS] = [(record, fmean(map(accuracy, record.tasks))) for record in whole]
    return [_correlated(task, pairs) for task, pairs in scored.items()]


def _correlated(task: str, pairs: Sequence[tuple[Record, float]]) -> TaskCorrelations:
    scores = [score for _, score in pairs]
    with_quality: Mapping[str, Correlation | None] = {
        name: correlate(*_known(pairs, name)) for name in ("locality", "success")
    }
    return TaskCorrelations(
        task, correlate(me_ppl_ranks([_me_ppl(record) for record, _ in pairs]), scores), **with_quality
    )


def _known(pairs: Sequence[tuple[Record, float]], name: str) -> tuple[list[float], list[float]]:
    """Values of a quality, 0 or 1, and scores, of the cases in which the quality was measured."""
    known = [(float(value), score) for record, score in pairs if (value := quality_of(record, name)) is not None]
    return [value for value, _ in known], [score for _, score in known]
