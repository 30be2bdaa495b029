"""Accuracy by level of ME-PPL in a terminal: the unedited model first, chance last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from collapse_tests.report.formatting import Notation, perplexity
from collapse_tests.report.tables import Column, fits, make_table, name_cell, print_table
from collapse_tests.report.tasks import score
from collapse_tests.study.association import Correlation
from collapse_tests.study.cells import correlation_cell, plus_minus, times_at_random, wrapped_name
from collapse_tests.study.level_rows import LevelStudy, LevelSummary, level_correlations, summaries
from collapse_tests.study.scaling import LARGEST_FACTOR, TOLERANCE

__all__ = ["print_levels"]

Row = TypeVar("Row")
_Association = tuple[str, Correlation | None]


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the table of accuracies.

    Attributes:
        about: the level, or what else the line is of.
        models, unreachable: how many models were made, and how many requests did not reach the level.
        me_ppl: mean over the models.
        tasks: a cell each.
    """

    about: str
    models: str
    unreachable: str
    me_ppl: str
    tasks: tuple[str, ...]


def print_levels(study: LevelStudy, console: Console) -> None:
    """Print accuracy per level, how often tasks were at random, what was left out, and rank correlations."""
    notation = Notation.of(console.encoding)
    name = notation.show(f"{study.model} under {study.editor}")
    console.print(Text(f"{name}: accuracy by ME-PPL, mean and standard error over models", style="bold"))
    _print(_accuracy_columns(study, notation), _lines(study, notation), notation, console)
    console.print(Text("models that answer at random", style="bold"))
    _print(_random_columns(study, notation), summaries(study), notation, console)
    for remark in _remarks(study):
        console.print(Text(notation.show(remark)))
    console.print()
    console.print(Text(f"rank correlation (p) with log ME-PPL, over {len(study.models):,} edited models", style="bold"))
    _print(_correlation_columns(notation), level_correlations(study), notation, console)


def _print(columns: Sequence[Column[Row]], rows: Sequence[Row], notation: Notation, console: Console) -> None:
    wide = make_table(columns, rows, notation)
    print_table(wide if fits(wide, console) else make_table(columns, rows, notation, gap=1), console)


def _lines(study: LevelStudy, notation: Notation) -> list[_Line]:
    unedited = tuple(score(result.unedited, notation) for result in study.unedited_tasks)
    chance = tuple(score(result.chance, notation) for result in study.unedited_tasks)
    return [
        _Line("unedited", "", "", perplexity(study.unedited_me_ppl), unedited),
        *(_line(summary, len(unedited), notation) for summary in summaries(study)),
        _Line("random", "", "", "", chance),
    ]


def _line(summary: LevelSummary, tasks: int, notation: Notation) -> _Line:
    cells = [plus_minus(task.mean, task.standard_error, notation) for task in summary.tasks]
    return _Line(
        about=_level(summary.level),
        models=f"{summary.models:,}",
        unreachable=f"{summary.unreachable:,}",
        me_ppl=notation.perplexity(summary.me_ppl),
        tasks=tuple(cells or [notation.absent] * tasks),
    )


def _level(value: float) -> str:
    return f"{value:,}".removesuffix(".0")


def _accuracy_columns(study: LevelStudy, notation: Notation) -> list[Column[_Line]]:
    def cell(index: int) -> Callable[[_Line], Text]:
        return lambda line: Text(line.tasks[index])

    return [
        Column("level", lambda line: Text(line.about)),
        Column("models", lambda line: Text(line.models)),
        Column("not\nreached", lambda line: Text(line.unreachable)),
        Column("ME-PPL", lambda line: Text(line.me_ppl)),
        *(Column(wrapped_name(one.task, notation), cell(index)) for index, one in enumerate(study.unedited_tasks)),
    ]


def _random_columns(study: LevelStudy, notation: Notation) -> list[Column[LevelSummary]]:
    def cell(index: int) -> Callable[[LevelSummary], Text]:
        return lambda row: times_at_random(row.tasks[index].at_random if row.tasks else 0, row.models)

    return [
        Column("level", lambda row: Text(_level(row.level))),
        *(Column(wrapped_name(one.task, notation), cell(index)) for index, one in enumerate(study.unedited_tasks)),
    ]


def _correlation_columns(notation: Notation) -> list[Column[_Association]]:
    return [
        Column("task", lambda row: name_cell(row[0], notation), "left", elastic=True),
        Column("accuracy", lambda row: correlation_cell(row[1], notation)),
    ]


def _remarks(study: LevelStudy) -> list[str]:
    """What was left out, and why."""
    remarks = [f"{study.requests:,} requests edited."]
    if study.too_low:
        levels = ", ".join(map(_level, study.too_low))
        remarks.append(f"Left out, as the unedited model's ME-PPL is not below: {levels}.")
    if any(study.unreachable):
        remarks.append(
            f"Not reached: no factor up to {LARGEST_FACTOR:g} takes the update to within {TOLERANCE:.0%} of the level."
        )
    if study.failed:
        edit_id, message = study.failed[0]
        remarks.append(f"{len(study.failed):,} edits raised and were left out; the first, {edit_id}: {message}")
    return remarks
