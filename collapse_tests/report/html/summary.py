"""What the first screen says, and the tables of groups, tasks and sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collapse_tests.records import Record, Verdict
from collapse_tests.report.certificates import certificate_lines
from collapse_tests.report.html.table_view import (
    Cell,
    Heading,
    TableView,
    count_cell,
    number_cell,
    ppl_cell,
    rate_cell,
    text_cell,
)
from collapse_tests.report.html.texts import cut, share, shown
from collapse_tests.report.rows import GroupSummary, Rate, verdict_sentence
from collapse_tests.report.sequences import edits_made, sequences_sentence, worst_me_ppl
from collapse_tests.report.side_by_side import Entry
from collapse_tests.report.task_rows import TaskSummary
from collapse_tests.sequence_record import SequenceRecord
from collapse_tests.verdict.intervals import rate_interval

__all__ = [
    "CONFIDENCE",
    "RateView",
    "certificates",
    "group_table",
    "rates",
    "rates_of_runs",
    "sentences",
    "sequence_table",
    "task_table",
    "tone",
]

CONFIDENCE = 0.95

_SENTENCE = 600


@dataclass(frozen=True, slots=True)
class RateView:
    """How often the edits of one model and editor collapsed it.

    Attributes:
        model, editor: their names.
        hits, n: edits that collapsed the model, of those that taught something.
        errors: edits that ended in an error and are in neither.
        rate: share of 1; None where n is 0.
        low, high: exact interval of the rate.
        text: rate and interval in words.
        run: letter of the run; empty where there is one alone.
    """

    model: str
    editor: str
    hits: int
    n: int
    errors: int
    rate: float | None
    low: float
    high: float
    text: str
    run: str = ""


def sentences(records: Sequence[Record], sequences: Sequence[SequenceRecord]) -> list[str]:
    """The verdict of the run: one sentence on its edits, one on its sequences, or on both that there are none."""
    found = [shown(verdict_sentence(records), _SENTENCE)] if records or not sequences else []
    return [*found, shown(sequences_sentence(sequences), _SENTENCE)] if sequences else found


def tone(records: Sequence[Record], sequences: Sequence[SequenceRecord]) -> Verdict:
    """The worst verdict of a run, which its sentence is marked with."""
    present = {one.verdict for one in records} | {one.verdict for one in sequences}
    order = (Verdict.COLLAPSED, Verdict.ERROR, Verdict.INEFFECTIVE)
    return next((verdict for verdict in order if verdict in present), Verdict.STABLE)


def rates(groups: Sequence[GroupSummary]) -> list[RateView]:
    """One per model and editor."""
    return [_rate(group) for group in groups]


def rates_of_runs(entries: Sequence[Entry]) -> list[RateView]:
    """One per run, model and editor."""
    return [
        _rate_view(entry.group.model, entry.group.editor, entry.collapses, entry.errors, entry.run.letter)
        for entry in entries
    ]


def certificates(groups: Sequence[GroupSummary], environment: Mapping[str, Any]) -> list[str]:
    """What cases without a collapse are worth, as the terminal says it.

    None where requests were picked by their risk, or where it is not known whether they were.
    """
    settings = environment.get("settings")
    drawn = isinstance(settings, Mapping) and settings.get("riskiest", "unknown") is None
    return [cut(line) for line in certificate_lines(groups)] if drawn else []


def _rate(group: GroupSummary) -> RateView:
    errors = group.verdicts[Verdict.ERROR]
    found = Rate(group.verdicts[Verdict.COLLAPSED], group.cases - errors)
    return _rate_view(group.model, group.editor, found, errors)


def _rate_view(model: str, editor: str, found: Rate, errors: int, run: str = "") -> RateView:
    hits, n = found.hits, found.n
    low, high = rate_interval(hits, n, CONFIDENCE)
    text = "nothing was learnt" if n == 0 else f"{share(hits / n)} ({share(low)} to {share(high)})"
    return RateView(shown(model), shown(editor), hits, n, errors, hits / n if n else None, low, high, text, run)


def group_table(groups: Sequence[GroupSummary]) -> TableView:
    """Verdicts, ME-PPL and edit quality per model and editor: the first three tables of the study in one."""
    headings = [
        Heading("model"),
        Heading("editor"),
        Heading("edits", numeric=True),
        *(Heading(verdict.value, numeric=True) for verdict in Verdict),
        Heading("collapse rate", "of edits without an error, with its exact 95% interval", numeric=True),
        Heading("ME-PPL before", "of the unedited model", numeric=True),
        Heading("median after", numeric=True),
        Heading("worst after", "inf above every number, NaN above inf", numeric=True),
        Heading("success", "the new answer is likelier than the old one", numeric=True),
        Heading("generalisation", "so it is on the rephrased prompt", numeric=True),
        Heading("locality", "another fact's answer is unchanged", numeric=True),
        Heading("seconds an edit", numeric=True),
    ]
    rows = [_group_row(group) for group in groups]
    return TableView("groups", "Every model and editor", headings, rows)


def _group_row(group: GroupSummary) -> list[Cell]:
    rate = _rate(group)
    return [
        text_cell(group.model),
        text_cell(group.editor),
        count_cell(group.cases),
        *(count_cell(group.verdicts[verdict]) for verdict in Verdict),
        Cell(rate.text, "-inf" if rate.rate is None else repr(rate.rate)),
        ppl_cell(group.unedited_me_ppl),
        ppl_cell(group.median_me_ppl),
        ppl_cell(group.worst_me_ppl),
        rate_cell(group.success),
        rate_cell(group.generalisation),
        rate_cell(group.locality),
        number_cell(group.seconds_per_edit),
    ]


def task_table(tasks: Sequence[TaskSummary]) -> TableView:
    """Downstream accuracy per model, editor and task."""
    headings = [
        Heading("task"),
        Heading("model"),
        Heading("editor"),
        Heading("metric"),
        Heading("edits", numeric=True),
        Heading("items", numeric=True),
        Heading("chance", numeric=True),
        Heading("unedited", numeric=True),
        Heading("survived", "mean over edits that did not collapse the model", numeric=True),
        Heading("collapsed", "mean over edits that did", numeric=True),
        Heading("lowest", numeric=True),
        Heading("not above chance", "or significantly dropped, where the run gates on that", numeric=True),
    ]
    rows = [
        [
            text_cell(row.task),
            text_cell(row.model),
            text_cell(row.editor),
            text_cell(row.metric),
            count_cell(row.cases),
            count_cell(row.items),
            number_cell(row.chance),
            number_cell(row.unedited),
            number_cell(row.survived),
            number_cell(row.collapsed),
            number_cell(row.lowest),
            count_cell(row.failed) if row.informative else Cell("tells nothing", "-inf"),
        ]
        for row in tasks
    ]
    return TableView("tasks", "Downstream accuracy, means over edits", headings, rows)


def sequence_table(sequences: Sequence[SequenceRecord]) -> TableView:
    """Scenarios and searches."""
    headings = [
        Heading("sequence"),
        Heading("model"),
        Heading("editor"),
        Heading("verdict"),
        Heading("edits made", numeric=True),
        Heading("collapsed after", "edits", numeric=True),
        Heading("ME-PPL before", numeric=True),
        Heading("worst after", numeric=True),
        Heading("took", "edits that succeeded when they were made", numeric=True),
        Heading("retained", "earlier edits that still succeed at the end", numeric=True),
        Heading("drift", "distance of the weights from the unedited ones, over their norm", numeric=True),
        Heading("what was found", wide=True),
    ]
    return TableView("sequence-table", "Scenarios and searches", headings, [_sequence_row(one) for one in sequences])


def _sequence_row(record: SequenceRecord) -> list[Cell]:
    last = record.steps[-1] if record.steps else None
    took = sum(step.success for step in record.steps)
    steps = len(record.steps)
    return [
        text_cell(f"{record.kind}:{record.name}"),
        text_cell(record.model),
        text_cell(record.editor),
        Cell(record.verdict.value, verdict=record.verdict.value),
        Cell(edits_made(record), str(steps)),
        count_cell(record.collapsed_after),
        ppl_cell(record.unedited.me_ppl if record.unedited else None),
        ppl_cell(worst_me_ppl(record)),
        Cell(f"{took:,} of {steps:,}", repr(took / steps)) if steps else count_cell(None),
        Cell(f"{last.retained:,} of {last.earlier:,}", repr(last.retained / last.earlier))
        if last and last.earlier
        else count_cell(None),
        number_cell(last.drift if last else None),
        text_cell(record.error or " ".join((*record.reasons, *record.notes)) or None, 160),
    ]
