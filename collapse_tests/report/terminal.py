"""The collapse report in a terminal, a log or any other text stream.

User text reaches rich as `Text`, never as a string, so that nothing in it is taken for markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePath
from typing import TextIO

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from collapse_tests.records import Record, Verdict
from collapse_tests.report.certificates import certificate_lines
from collapse_tests.report.formatting import Notation, percentage, perplexity
from collapse_tests.report.rows import (
    GroupSummary,
    Rate,
    error_cases,
    error_text,
    growth,
    summarise,
    verdict_sentence,
    worst_cases,
)
from collapse_tests.report.sequences import print_sequences, sequences_sentence
from collapse_tests.report.store import RECORDS_FILE, SEQUENCES_FILE
from collapse_tests.report.tables import (
    VERDICT_STYLES,
    Column,
    Elastic,
    fits,
    make_table,
    name_cell,
    print_table,
)
from collapse_tests.report.tasks import print_tasks
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["make_console", "render"]

_SHOWN = 10
_SHOWN_VERBOSE = 100


def make_console(file: TextIO, *, width: int | None = None, colour: bool | None = None) -> Console:
    """A console that writes to `file` and takes nothing in the text for markup, emoji or numbers to paint.

    Args:
        file: any text stream; its encoding decides between Unicode and ASCII signs.
        width: columns; None for the terminal's own, or 80.
        colour: whether to write control codes; None to decide by whether `file` is a terminal.
    """
    return Console(
        file=file,
        width=width,
        force_terminal=colour,
        markup=False,
        emoji=False,
        highlight=False,
        force_jupyter=False,
        legacy_windows=False,
    )


def render(
    records: Sequence[Record],
    sequences: Sequence[SequenceRecord] = (),
    *,
    run_directory: str | None,
    console: Console,
    verbose: bool,
    certified: bool = True,
) -> None:
    """Print the report: models by editors, the worst cases, the errors, the verdict and where the records are.

    Args:
        records: of all cases of the run, possibly none.
        sequences: of all its scenarios and searches.
        run_directory: where the records are; None when they were not written.
        console: where to print.
        verbose: list up to 100 cases instead of 10, and the time of each stage.
        certified: say what cases without a collapse are worth; not where requests were picked by their risk.
    """
    notation = Notation.of(console.encoding)
    groups = summarise(records)
    console.print(Rule(Text("collapse report", style="bold"), style="none"))
    console.print()
    if groups:
        for table in _summary_tables(groups, notation, console):
            print_table(table, console)
    if verbose:
        _print_stages(groups, notation, console)
    limit = _SHOWN_VERBOSE if verbose else _SHOWN
    print_tasks(records, notation, console)
    _print_worst(records, limit, notation, console)
    _print_errors(records, limit, notation, console)
    print_sequences(sequences, notation, console)
    if records or not sequences:
        console.print(Text(notation.show(verdict_sentence(records)), style="bold"))
    for line in certificate_lines(groups) if certified else ():
        console.print(Text(notation.show(line)), soft_wrap=True)
    if sequences:
        console.print(Text(notation.show(sequences_sentence(sequences)), style="bold"))
    if run_directory is not None:
        files = [RECORDS_FILE] if records or not sequences else []
        files += [SEQUENCES_FILE] if sequences else []
        places = [notation.show(str(PurePath(run_directory, file))) for file in files]
        console.print(Text(f"Records: {', '.join(places)}"), soft_wrap=True)


def _summary_tables(groups: Sequence[GroupSummary], notation: Notation, console: Console) -> list[Table]:
    """One table where the console is wide enough, otherwise verdicts and measurements one below the other."""
    names = _name_columns(notation)
    counts = _count_columns()
    measures = _measure_columns(notation)
    for gap in (2, 1):
        table = make_table([*names, *counts, *measures], groups, notation, gap)
        if fits(table, console):
            return [table]
    return [make_table([*names, *counts], groups, notation), make_table([*names, *measures], groups, notation)]


def _name_columns(notation: Notation) -> list[Column[GroupSummary]]:
    return [
        Column("model", lambda group: name_cell(group.model, notation), "left", elastic=True),
        Column("editor", lambda group: name_cell(group.editor, notation), "left", elastic=True),
    ]


def _count_columns() -> list[Column[GroupSummary]]:
    def column(verdict: Verdict) -> Column[GroupSummary]:
        return Column(verdict.value, lambda group: _count(group, verdict))

    return [Column("cases", lambda group: Text(f"{group.cases:,}")), *(column(verdict) for verdict in Verdict)]


def _measure_columns(notation: Notation) -> list[Column[GroupSummary]]:
    def learnt(group: GroupSummary) -> int:
        return group.cases - group.verdicts[Verdict.ERROR]

    def rate(value: Rate, group: GroupSummary) -> Text:
        return Text(_rate(value, learnt(group), notation))

    return [
        Column("ME-PPL\nunedited", lambda group: Text(notation.perplexity(group.unedited_me_ppl))),
        Column(f"{notation.arrow}\nmedian", lambda group: Text(notation.perplexity(group.median_me_ppl))),
        Column(f"{notation.arrow}\nworst", lambda group: Text(notation.perplexity(group.worst_me_ppl))),
        Column("success", lambda group: rate(group.success, group)),
        Column("general.", lambda group: rate(group.generalisation, group)),
        Column("local.", lambda group: rate(group.locality, group)),
        Column("s/edit", lambda group: Text(notation.significant(group.seconds_per_edit))),
    ]


def _print_stages(groups: Sequence[GroupSummary], notation: Notation, console: Console) -> None:
    for group in groups:
        stages = ", ".join(
            f"{notation.show(stage)} {notation.significant(seconds)}" for stage, seconds in group.seconds.items()
        )
        if stages:
            name = notation.show(f"{group.model} under {group.editor}")
            console.print(Text(f"Seconds per edit of {name}: {stages}"))
    if groups:
        console.print()


def _print_worst(records: Sequence[Record], limit: int, notation: Notation, console: Console) -> None:
    cases = worst_cases(records, limit=None)
    if not cases:
        return
    shown = cases[:limit]
    limits = {record.ppl_limit for record in cases if not math.isnan(record.ppl_limit)}
    against = f", ME-PPL limit {perplexity(limits.pop())}" if len(limits) == 1 else ""
    console.print(Text(f"worst cases, {len(shown):,} of {len(cases):,}{against}", style="bold"))
    columns: list[Column[Record]] = [
        _identity(records, notation),
        Column("edit", lambda record: Elastic(lambda width: notation.edit(record.request, width)), "left", True),
        Column("ME-PPL", lambda record: Text(notation.perplexity(_edited_me_ppl(record)))),
        Column("growth", lambda record: Text(notation.growth(growth(record)))),
        Column("denom.", lambda record: _diagnostic(record, "denominator", notation)),
        Column("update\n/weight", lambda record: _diagnostic(record, "update_norm_ratio", notation)),
        Column("verdict", lambda record: Text(record.verdict, style=VERDICT_STYLES[record.verdict]), "left"),
    ]
    wide = make_table(columns, shown, notation)
    print_table(wide if fits(wide, console) else make_table(columns, shown, notation, gap=1), console)


def _print_errors(records: Sequence[Record], limit: int, notation: Notation, console: Console) -> None:
    cases = error_cases(records, limit=None)
    if not cases:
        return
    shown = cases[:limit]
    console.print(Text(f"errors, {len(shown):,} of {len(cases):,}", style=f"bold {VERDICT_STYLES[Verdict.ERROR]}"))
    columns: list[Column[Record]] = [
        _identity(records, notation),
        Column("message", lambda record: name_cell(error_text(record), notation), "left", elastic=True),
    ]
    print_table(make_table(columns, shown, notation), console)


def _identity(records: Sequence[Record], notation: Notation) -> Column[Record]:
    """The end of the case id that tells the cases of this run apart."""
    many_models = len({record.model for record in records}) > 1
    many_editors = len({record.editor for record in records}) > 1

    def name(record: Record) -> str:
        if many_models:
            return record.case_id
        return f"{record.editor}-{record.edit_id}" if many_editors else record.edit_id

    return Column("id", lambda record: name_cell(name(record), notation), "left", elastic=True)


def _edited_me_ppl(record: Record) -> float | None:
    return record.edited.me_ppl if record.edited else None


def _diagnostic(record: Record, name: str, notation: Notation) -> Text:
    return Text(notation.significant(record.diagnostics.get(name)))


def _count(group: GroupSummary, verdict: Verdict) -> Text:
    n = group.verdicts[verdict]
    return Text(f"{n:,}", style=VERDICT_STYLES[verdict] if n else "")


def _rate(rate: Rate, learnt: int, notation: Notation) -> str:
    """The percentage, or the plain fraction where not every case that taught something was measured."""
    if rate.n != learnt and rate.n > 0:
        return f"{rate.hits:,}/{rate.n:,}"
    return percentage(rate.hits, rate.n) or notation.absent
