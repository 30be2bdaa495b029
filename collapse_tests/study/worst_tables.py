"""The worst edits of a run in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from collapse_tests.records import Record, Verdict
from collapse_tests.report.formatting import Notation, perplexity
from collapse_tests.report.rows import Rate, median_perplexity
from collapse_tests.report.tables import VERDICT_STYLES, Column, fits, make_table, name_cell, print_table
from collapse_tests.report.tasks import score
from collapse_tests.study.cells import correlation_cell, p_value_text, times_at_random, wrapped_name, yes_or_no
from collapse_tests.study.worst_rows import (
    TaskCorrelations,
    TaskOfWorst,
    WorstGroup,
    accuracy,
    quality_of,
    quality_rate,
)

__all__ = ["locality_sentence", "print_worst"]


def print_worst(groups: Sequence[WorstGroup], console: Console) -> None:
    """Print each group: its tasks, its worst cases, what locality misses, and rank correlations."""
    notation = Notation.of(console.encoding)
    for group in groups:
        _print_group(group, notation, console)


def locality_sentence(group: WorstGroup) -> str:
    """How many of the models that collapsed are local all the same, and whether locality tells them from the others."""
    worst, collapsed, survived = group.local_worst, group.local_collapsed, group.local_survived
    if not collapsed.n:
        return "No edit with a locality prompt collapsed, so what locality misses cannot be told."
    parts = [
        f"What locality misses: {worst.hits} of the {_models(worst.n)} that collapsed among these "
        f"{'is' if worst.hits == 1 else 'are'} local (locality 1)."
    ]
    whole = f"Of all that collapsed, {_of(collapsed)} are local; of all that survived, {_of(survived)}"
    p_value = group.local_p_value
    parts += [f"{whole}." if p_value is None else f"{whole} (Fisher's exact test: p = {p_value_text(p_value)})."]
    return " ".join(parts).replace("p = <", "p < ")


def _print_group(group: WorstGroup, notation: Notation, console: Console) -> None:
    name = notation.show(f"{group.model} under {group.editor}")
    console.print(Text(f"{name}: the {group.count:,} worst of {len(group.measured):,} edits by ME-PPL", style="bold"))
    if group.left_out:
        console.print(Text(f"{group.left_out:,} more had no ME-PPL or ended in an error."))
    if not group.tasks:
        console.print(Text("No task was measured on it; run the gate again with --downstream each."))
        console.print()
        return
    console.print(Text(_summary(group)))
    console.print()
    print_table(make_table(_task_columns(notation), group.tasks, notation), console)
    _print_cases(group, notation, console)
    console.print(Text(locality_sentence(group), style="bold"))
    console.print()
    console.print(Text("rank correlation (p) of accuracy, over all measured cases", style="bold"))
    print_table(make_table(_correlation_columns(notation), group.correlations, notation), console)


def _summary(group: WorstGroup) -> str:
    values = [record.edited.me_ppl for record in group.worst if record.edited]
    before = [record.unedited.me_ppl for record in group.worst if record.unedited]
    median, unedited = median_perplexity(values), median_perplexity(before)
    if median is None:
        return "No edit has an ME-PPL."
    rates = ", ".join(
        f"{name} {_of(quality_rate(group.worst, name))}" for name in ("success", "generalisation", "locality")
    )
    collapsed = sum(record.verdict is Verdict.COLLAPSED for record in group.worst)
    span = f"ME-PPL {perplexity(values[-1])} to {perplexity(values[0])}, median {perplexity(median)}"
    against = "" if unedited is None else f", unedited {perplexity(unedited)}"
    return f"{collapsed:,} collapsed; {span}{against}; {rates}."


def _task_columns(notation: Notation) -> list[Column[TaskOfWorst]]:
    return [
        Column("task", lambda row: name_cell(row.task, notation), "left", elastic=True),
        Column("items", lambda row: Text(f"{row.items:,}")),
        Column("unedited", lambda row: Text(score(row.unedited, notation))),
        Column("edited", lambda row: Text(score(row.mean, notation))),
        Column("lowest", lambda row: Text(score(row.lowest, notation))),
        Column("highest", lambda row: Text(score(row.highest, notation))),
        Column("random", lambda row: Text(score(row.chance, notation))),
        Column("at random", lambda row: times_at_random(row.at_random, row.cases)),
    ]


def _print_cases(group: WorstGroup, notation: Notation, console: Console) -> None:
    columns: list[Column[Record]] = [
        Column("id", lambda record: name_cell(record.edit_id, notation), "left", elastic=True),
        Column("ME-PPL", lambda record: Text(notation.perplexity(record.edited.me_ppl if record.edited else None))),
        *(_quality_column(header, name, notation) for header, name in _QUALITIES),
        *(_score_column(task.task, notation) for task in group.tasks),
    ]
    if len({record.verdict for record in group.worst}) > 1:  # else the summary says it
        columns.append(
            Column("verdict", lambda record: Text(record.verdict, style=VERDICT_STYLES[record.verdict]), "left")
        )
    wide = make_table(columns, group.worst, notation)
    print_table(wide if fits(wide, console) else make_table(columns, group.worst, notation, gap=1), console)


_QUALITIES = (("success", "success"), ("general.", "generalisation"), ("local.", "locality"))


def _quality_column(header: str, name: str, notation: Notation) -> Column[Record]:
    def cell(record: Record) -> Text:
        value = quality_of(record, name)
        missed = name == "locality" and value and record.verdict is Verdict.COLLAPSED
        shown = yes_or_no(value, notation)
        shown.style = "red" if missed else ""
        return shown

    return Column(header, cell)


def _score_column(task: str, notation: Notation) -> Column[Record]:
    def cell(record: Record) -> Text:
        found = next((result for result in record.tasks if result.task == task), None)
        return Text(score(None if found is None else accuracy(found), notation))

    return Column(wrapped_name(task, notation), cell)


def _correlation_columns(notation: Notation) -> list[Column[TaskCorrelations]]:
    return [
        Column("task", lambda row: name_cell(row.task, notation), "left", elastic=True),
        Column("with ME-PPL", lambda row: correlation_cell(row.me_ppl, notation)),
        Column("with locality", lambda row: correlation_cell(row.locality, notation)),
        Column("with success", lambda row: correlation_cell(row.success, notation)),
    ]


def _of(rate: Rate) -> str:
    return f"{rate.hits:,} of {rate.n:,}"


def _models(n: int) -> str:
    return f"{n:,} model" if n == 1 else f"{n:,} models"
