"""What mining and ranking print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from collapse_tests.cases import Case
from collapse_tests.engine.preflight import Foresight
from collapse_tests.mining.prediction import Found, Prediction
from collapse_tests.mining.sweep import SweepResult
from collapse_tests.records import Record, Verdict
from collapse_tests.report.formatting import Notation, percentage, perplexity, significant
from collapse_tests.report.rows import worst_perplexity
from collapse_tests.report.tables import Column, Elastic, make_table, name_cell, print_table

__all__ = ["print_prediction", "print_ranking", "print_sweep"]

_DENOMINATOR = "denominator"


def print_sweep(result: SweepResult, console: Console) -> None:
    """How many edits collapsed, a row for each model and editor."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in result.records:
        groups.setdefault((record.model, record.editor), []).append(record)
    notation = Notation.of(console.encoding)
    columns: list[Column[list[Record]]] = [
        Column("model", lambda group: name_cell(group[0].model, notation), "left", elastic=True),
        Column("editor", lambda group: name_cell(group[0].editor, notation), "left", elastic=True),
        Column("edits", lambda group: f"{len(group):,}"),
        Column("collapsed", lambda group: f"{_count(group, Verdict.COLLAPSED):,}"),
        Column("rate", lambda group: percentage(_count(group, Verdict.COLLAPSED), len(group)) or ""),
        Column("errors", lambda group: f"{_count(group, Verdict.ERROR):,}"),
        Column("worst ME-PPL", lambda group: notation.perplexity(_worst(group))),
    ]
    if groups:
        print_table(make_table(columns, list(groups.values()), notation), console)


def print_ranking(ranked: Sequence[tuple[Case, Foresight]], outcomes: Mapping[str, Record], console: Console) -> None:
    """The edits in the order given, with what came of those that were made."""
    notation = Notation.of(console.encoding)
    rows = list(enumerate(ranked, start=1))
    columns: list[Column[tuple[int, tuple[Case, Foresight]]]] = [
        Column("", lambda row: str(row[0])),
        Column("id", lambda row: name_cell(row[1][0].edit_id, notation), "left", elastic=True),
        Column(
            "edit", lambda row: Elastic(lambda width: notation.edit(_fields(row[1][0]), width)), "left", elastic=True
        ),
        Column("risk", lambda row: _number(row[1][1].risk)),
    ]
    if any(_DENOMINATOR in foresight.numbers for _, foresight in ranked):
        columns.append(Column("denom.", lambda row: _number(row[1][1].numbers.get(_DENOMINATOR, math.nan))))
    if outcomes:
        columns.append(Column("ME-PPL", lambda row: _outcome(outcomes.get(row[1][0].id))))
    print_table(make_table(columns, rows, notation), console)


def print_prediction(prediction: Prediction, console: Console) -> None:
    """How well the order foretold the outcomes."""
    notation = Notation.of(console.encoding)
    auc = "none can be told" if math.isnan(prediction.auc) else f"{prediction.auc:.4f}"
    line = f"{prediction.collapses:,} of {prediction.edits:,} edits collapsed; area under the ROC curve: {auc}"
    console.print(Text(line, style="bold"))
    columns: list[Column[Found]] = [
        Column("tested, riskiest first", lambda row: f"{row.tested:,}"),
        Column("collapses", lambda row: f"{row.collapses:,}"),
        Column("as many at random", lambda row: f"{row.by_chance:.2f}"),
        Column("precision", lambda row: percentage(row.collapses, row.tested) or notation.absent),
        Column("recall", lambda row: percentage(row.collapses, prediction.collapses) or notation.absent),
    ]
    print_table(make_table(columns, prediction.found, notation), console)


def _fields(case: Case) -> dict[str, str | None]:
    return {"prompt": case.request.prompt, "target_new": case.request.target_new}


def _number(value: float) -> str:
    return "" if value == -math.inf else significant(value)


def _outcome(record: Record | None) -> str:
    if record is None:
        return ""
    return record.verdict.value if record.edited is None else perplexity(record.edited.me_ppl)


def _worst(group: Sequence[Record]) -> float | None:
    return worst_perplexity(record.edited.me_ppl for record in group if record.edited is not None)


def _count(group: Sequence[Record], verdict: Verdict) -> int:
    return sum(record.verdict is verdict for record in group)
