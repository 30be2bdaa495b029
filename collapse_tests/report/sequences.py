"""The part of the report about edits in sequence: scenarios and searches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from collapse_tests.records import Verdict
from collapse_tests.report.formatting import Notation
from collapse_tests.report.rows import worst_perplexity
from collapse_tests.report.sparkline import sparkline
from collapse_tests.report.tables import VERDICT_STYLES, Column, fits, make_table, name_cell, print_table
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["edits_made", "me_ppl_curve", "print_sequences", "sequences_sentence", "worst_me_ppl"]

#: Spaces between columns and signs of a curve, from the widest layout to the narrowest.
_LAYOUTS = ((2, 30), (1, 30), (1, 12), (1, 8))


def print_sequences(records: Sequence[SequenceRecord], notation: Notation, console: Console) -> None:
    """Print one line per scenario or search, notes on them, and what went wrong in those that ended in an error.

    Args:
        records: of a run, possibly none.
        notation: of the console.
        console: where to print.
    """
    if not records:
        return
    limits = {record.ppl_limit for record in records if not math.isnan(record.ppl_limit)}
    against = f", ME-PPL limit {notation.perplexity(limits.pop())}" if len(limits) == 1 else ""
    models = {record.model for record in records}
    on = f" on {notation.show(next(iter(models)))}" if len(models) == 1 else ""
    console.print(Text(f"sequences{on}{against}", style="bold"))
    tables = [
        make_table(_columns(notation, curve)[len(models) == 1 :], records, notation, gap) for gap, curve in _LAYOUTS
    ]
    print_table(next((table for table in tables if fits(table, console)), tables[-1]), console)
    noted = [(record, note) for record in records for note in record.notes]
    if noted:
        notes: list[Column[tuple[SequenceRecord, str]]] = [
            Column("id", lambda row: name_cell(row[0].case_id, notation), "left", elastic=True),
            Column("note", lambda row: name_cell(row[1], notation), "left", elastic=True),
        ]
        print_table(make_table(notes, noted, notation), console)
    errors = [record for record in records if record.verdict is Verdict.ERROR]
    if errors:
        columns: list[Column[SequenceRecord]] = [
            Column("id", lambda record: name_cell(record.case_id, notation), "left", elastic=True),
            Column("message", lambda record: name_cell(record.error or "no message", notation), "left", elastic=True),
        ]
        console.print(Text("sequences that ended in an error", style=f"bold {VERDICT_STYLES[Verdict.ERROR]}"))
        print_table(make_table(columns, errors, notation), console)


def sequences_sentence(records: Sequence[SequenceRecord]) -> str:
    """What the sequences of a run came to, in one sentence of plain text."""
    learnt = [record for record in records if record.verdict is not Verdict.ERROR]
    errors = len(records) - len(learnt)
    if not learnt:
        return f"Nothing was learnt: {_sequences(errors)} ended in an error."
    collapsed = [record for record in learnt if record.verdict is Verdict.COLLAPSED]
    clause = f"{len(collapsed) or 'None'} of {_sequences(len(learnt))} collapsed the model"
    after = [(record.collapsed_after, record.case_id) for record in collapsed if record.collapsed_after is not None]
    if after:
        count, case_id = min(after)
        clause += f", at the earliest after {count:,} {'edit' if count == 1 else 'edits'} ({case_id})"
    ineffective = sum(record.verdict is Verdict.INEFFECTIVE for record in learnt)
    clauses = [clause]
    clauses += [f"{ineffective} had ineffective edits"] if ineffective else []
    clauses += [f"{errors} more ended in an error"] if errors else []
    return "; ".join(clauses) + "."


def worst_me_ppl(record: SequenceRecord) -> float | None:
    """The highest ME-PPL after any edit, inf above all numbers and NaN above inf; None without any."""
    found = [step.perplexity.me_ppl for step in record.steps]
    if record.search is not None and record.search.worst_me_ppl is not None:
        found.append(record.search.worst_me_ppl)
    return worst_perplexity(found)


def me_ppl_curve(record: SequenceRecord) -> list[float]:
    """ME-PPL of the unedited model and after each edit."""
    unedited = [] if record.unedited is None else [record.unedited.me_ppl]
    return [*unedited, *(step.perplexity.me_ppl for step in record.steps)]


def edits_made(record: SequenceRecord) -> str:
    """How many edits were made: of those planned, or by a search altogether."""
    if record.search is not None:
        return f"{record.search.edits:,}"
    return f"{len(record.steps):,}/{record.planned:,}"


def _columns(notation: Notation, curve: int) -> list[Column[SequenceRecord]]:
    return [
        Column("model", lambda record: name_cell(record.model, notation), "left", elastic=True),
        Column("editor", lambda record: name_cell(record.editor, notation), "left", elastic=True),
        Column("sequence", lambda record: name_cell(f"{record.kind}:{record.name}", notation), "left", elastic=True),
        Column("edits", lambda record: Text(edits_made(record))),
        Column("verdict", lambda record: Text(record.verdict, style=VERDICT_STYLES[record.verdict]), "left"),
        Column("collapse\nafter", lambda record: Text(_count(record.collapsed_after, notation))),
        Column("ME-PPL\nworst", lambda record: Text(notation.perplexity(worst_me_ppl(record)))),
        Column("success", lambda record: Text(_success(record, notation))),
        Column("retained", lambda record: Text(_retention(record, notation))),
        Column("drift", lambda record: Text(_drift(record, notation))),
        Column("curve", lambda record: _curve(record, notation, curve), "left"),
    ]


def _curve(record: SequenceRecord, notation: Notation, width: int) -> Text:
    values = me_ppl_curve(record)
    return Text(sparkline(values, record.ppl_limit, notation, width) if record.steps else notation.absent)


def _success(record: SequenceRecord, notation: Notation) -> str:
    if not record.steps:
        return notation.absent
    return f"{sum(step.success for step in record.steps):,}/{len(record.steps):,}"


def _retention(record: SequenceRecord, notation: Notation) -> str:
    """Of the last state."""
    if not record.steps or not record.steps[-1].earlier:
        return notation.absent
    return f"{record.steps[-1].retained:,}/{record.steps[-1].earlier:,}"


def _drift(record: SequenceRecord, notation: Notation) -> str:
    return notation.significant(record.steps[-1].drift if record.steps else None)


def _count(count: int | None, notation: Notation) -> str:
    return notation.absent if count is None else f"{count:,}"


def _sequences(count: int) -> str:
    return f"{count:,} sequence" if count == 1 else f"{count:,} sequences"
