"""Single edited models at given levels of ME-PPL, and what they come to per level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from collapse_tests.records import TaskResult, TaskVerdict
from collapse_tests.study.association import Correlation, correlate
from collapse_tests.study.table_files import task_columns
from collapse_tests.study.worst_rows import MEAN_OF_TASKS, accuracy

__all__ = ["LevelModel", "LevelStudy", "LevelSummary", "TaskAtLevel", "level_correlations", "level_rows", "summaries"]


@dataclass(frozen=True, slots=True)
class LevelModel:
    """One edited model.

    Attributes:
        level: the ME-PPL it was made for.
        edit_id: whose update was scaled.
        factor: of the update.
        me_ppl: what it has.
        tasks: downstream accuracy.
    """

    level: float
    edit_id: str
    factor: float
    me_ppl: float
    tasks: tuple[TaskResult, ...]


@dataclass(frozen=True, slots=True)
class LevelStudy:
    """What was found for one model and editor.

    Attributes:
        model, editor: their names.
        unedited_me_ppl, unedited_tasks: of the unedited model.
        levels: that were looked for, rising.
        too_low: levels at or below the unedited model's ME-PPL, left out.
        unreachable: per level, how many requests were tried and did not reach it.
        requests: how many were edited.
        failed: ids of those whose edit raised, each with the message.
        models: all that were made.
    """

    model: str
    editor: str
    unedited_me_ppl: float
    unedited_tasks: tuple[TaskResult, ...]
    levels: tuple[float, ...]
    too_low: tuple[float, ...]
    unreachable: tuple[int, ...]
    requests: int
    failed: tuple[tuple[str, str], ...]
    models: tuple[LevelModel, ...]


@dataclass(frozen=True, slots=True)
class TaskAtLevel:
    """One task over the models of a level; a score that is no number counts as 0.

    Attributes:
        mean: of the scores.
        standard_error: of that mean; None of a single model.
        at_random: in how many models it was not above chance; None where the task is not informative.
    """

    mean: float
    standard_error: float | None
    at_random: int | None


@dataclass(frozen=True, slots=True)
class LevelSummary:
    """One level.

    Attributes:
        level: the ME-PPL asked for.
        models: how many were made.
        unreachable: how many requests did not reach it.
        me_ppl: mean over the models; None without any.
        tasks: in the order of the study's; empty without any model.
    """

    level: float
    models: int
    unreachable: int
    me_ppl: float | None
    tasks: tuple[TaskAtLevel, ...]


def summaries(study: LevelStudy) -> list[LevelSummary]:
    """One per level, rising."""
    return [_summary(study, level, missed) for level, missed in zip(study.levels, study.unreachable, strict=True)]


def level_correlations(study: LevelStudy) -> list[tuple[str, Correlation | None]]:
    """Rank correlation of log ME-PPL with each task's accuracy, and with the mean of tasks, over all edited models."""
    me_ppl = [math.log(model.me_ppl) for model in study.models]
    found = [
        (task.task, correlate(me_ppl, [accuracy(model.tasks[index]) for model in study.models]))
        for index, task in enumerate(study.unedited_tasks)
    ]
    if len(found) > 1:
        means = [fmean(map(accuracy, model.tasks)) for model in study.models]
        found.append((MEAN_OF_TASKS, correlate(me_ppl, means)))
    return found


def level_rows(study: LevelStudy) -> list[dict[str, object]]:
    """One row per model and task, for files; the unedited model's rows come first and have no level."""
    unedited = [_row(study, None, None, 0.0, study.unedited_me_ppl, result) for result in study.unedited_tasks]
    return unedited + [
        _row(study, model.level, model.edit_id, model.factor, model.me_ppl, result)
        for model in study.models
        for result in model.tasks
    ]


def _row(
    study: LevelStudy, level: float | None, edit_id: str | None, factor: float, me_ppl: float, result: TaskResult
) -> dict[str, object]:
    return {
        "model": study.model,
        "editor": study.editor,
        "level": level,
        "edit_id": edit_id,
        "factor": factor,
        "me_ppl": me_ppl,
        **task_columns(result),
    }


def _summary(study: LevelStudy, level: float, unreachable: int) -> LevelSummary:
    own = [model for model in study.models if model.level == level]
    tasks = [_task(one, [model.tasks[index] for model in own]) for index, one in enumerate(study.unedited_tasks)]
    return LevelSummary(
        level=level,
        models=len(own),
        unreachable=unreachable,
        me_ppl=fmean(model.me_ppl for model in own) if own else None,
        tasks=tuple(tasks) if own else (),
    )


def _task(unedited: TaskResult, edited: Sequence[TaskResult]) -> TaskAtLevel:
    scores = [accuracy(result) for result in edited]
    return TaskAtLevel(
        mean=fmean(scores) if scores else math.nan,
        standard_error=stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None,
        at_random=None if unedited.verdict is TaskVerdict.UNINFORMATIVE else _at_random(edited),
    )


def _at_random(results: Iterable[TaskResult]) -> int:
    return sum(result.verdict is TaskVerdict.RANDOM for result in results)
