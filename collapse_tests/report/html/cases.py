"""The table of single edits, the worst first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from collapse_tests.records import Record
from collapse_tests.report.html.charts.scatter import ScatterView, point_mark
from collapse_tests.report.html.table_view import Cell, Heading, TableView, number_cell, ppl_cell, text_cell
from collapse_tests.report.html.texts import NOTATION, edit, visible
from collapse_tests.report.rows import error_cases, error_text, growth, worst_cases

__all__ = ["MOST_CASES", "case_table", "listed_cases"]

#: Rows of the table, and how many of them errors may take.
MOST_CASES = 2_000
_MOST_ERRORS = 500
_MOST_TASKS = 8


def listed_cases(records: Sequence[Record]) -> list[Record]:
    """The worst cases, then the errors, as many as the table holds."""
    errors = error_cases(records, _MOST_ERRORS)
    return [*worst_cases(records, MOST_CASES - len(errors)), *errors]


def case_table(records: Sequence[Record], scatter: ScatterView, anchors: Mapping[str, str]) -> TableView:
    """One row per case.

    Args:
        records: of all cases.
        scatter: whose points the rows belong to.
        anchors: by case id, of the sections about cases.
    """
    cases = listed_cases(records)
    tasks = list(dict.fromkeys(result.task for record in cases for result in record.tasks))[:_MOST_TASKS]
    headings = [
        Heading("case"),
        Heading("edit", "prompt and new answer", wide=True),
        Heading("verdict"),
        Heading("ME-PPL before", numeric=True),
        Heading("ME-PPL after", "inf above every number, NaN above inf", numeric=True),
        Heading("growth", "ME-PPL after over before", numeric=True),
        Heading("denominator", "of the editor's update, where it has one", numeric=True),
        Heading("update/weight", "norm of the update over norm of the weight", numeric=True),
        Heading("success"),
        Heading("generalisation"),
        Heading("locality"),
        *(Heading(visible(name.removeprefix("collapse_"))[:40], "accuracy", numeric=True) for name in tasks),
        Heading("why", wide=True),
    ]
    rows = [_row(record, tasks, anchors) for record in cases]
    left_out = len(records) - len(cases)
    note = (
        f"The worst {len(cases):,} of {len(records):,} cases; the other {left_out:,} are in records.jsonl."
        if left_out > 0
        else ""
    )
    marks = [point_mark(scatter, record) for record in cases]
    return TableView("case-table", "Single edits, the worst first", headings, rows, note, marks)


def _row(record: Record, tasks: Sequence[str], anchors: Mapping[str, str]) -> list[Cell]:
    named = text_cell(record.case_id, 60)
    quality = record.quality
    scores = {result.task: result.edited for result in record.tasks}
    why = error_text(record) if record.error else "; ".join(record.reasons)
    return [
        Cell(named.text, full=named.full, anchor=anchors.get(record.case_id, "")),
        Cell(edit(record.request, 70), full=edit(record.request, 300)),
        Cell(record.verdict.value, verdict=record.verdict.value),
        ppl_cell(record.unedited.me_ppl if record.unedited else None),
        ppl_cell(record.edited.me_ppl if record.edited else None),
        _growth_cell(growth(record)),
        number_cell(record.diagnostics.get("denominator")),
        number_cell(record.diagnostics.get("update_norm_ratio")),
        _word_cell(quality.success if quality else None),
        _word_cell(quality.generalisation if quality else None),
        _word_cell(quality.locality if quality else None),
        *(number_cell(scores.get(task)) for task in tasks),
        text_cell(why or None, 120),
    ]


def _growth_cell(value: float | None) -> Cell:
    cell = number_cell(value)
    return Cell(NOTATION.growth(value), cell.key, cell.full) if value is not None and math.isfinite(value) else cell


def _word_cell(outcome: bool | None) -> Cell:
    return Cell(NOTATION.absent if outcome is None else "yes" if outcome else "no")
