"""GitHub Actions: annotations by workflow commands and a step summary in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from collapse_tests.ci.escaping import code, command_data, command_property, markdown
from collapse_tests.ci.run_outcome import RunOutcome
from collapse_tests.errors import InfrastructureError
from collapse_tests.records import Record, Verdict
from collapse_tests.report.formatting import Notation
from collapse_tests.report.rows import error_cases, error_text, summarise, worst_cases
from collapse_tests.report.sequences import edits_made, worst_me_ppl
from collapse_tests.report.store import RECORDS_FILE, SEQUENCES_FILE
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["SUMMARY_BYTES", "append_summary", "step_summary", "workflow_commands"]

#: What a step's summary may hold; GitHub shows none that is longer.
SUMMARY_BYTES = 1 << 20

#: Annotations of a kind that GitHub shows of a step.
_ANNOTATIONS = 10

_SHOWN = 10
_NEWS = 50
_REPORT_PAGE = "report.html"
_NOTATION = Notation()


def workflow_commands(outcome: RunOutcome) -> list[str]:
    """An error for each of the first failing cases and sequences, and a notice with the verdict; a line each."""
    lines = [_error(outcome, record) for record in outcome.failed[:_ANNOTATIONS]]
    unshown = len(outcome.failed) - len(lines)
    told = [*outcome.sentences, *([f"{unshown:,} more failed."] if unshown else [])]
    return [*lines, f"::notice title={command_property('collapse gate')}::{command_data(' '.join(told))}"]


def _error(outcome: RunOutcome, record: Record | SequenceRecord) -> str:
    place = outcome.place(record)
    where = f"file={command_property(place.path)},line={place.line}," if place.of_user else ""
    title = command_property(outcome.headline(record))
    return f"::error {where}title={title}::{command_data(chr(10).join(outcome.details(record)))}"


def append_summary(file: Path, text: str) -> None:
    """Append to a step's summary as much of `text` as fits, in whole lines.

    Args:
        file: which other commands of the step may have written to.
        text: Markdown.

    Raises:
        InfrastructureError: the file cannot be written.
    """
    try:
        taken = file.stat().st_size if file.exists() else 0
        with file.open("ab") as stream:
            stream.write(_fitting(text, SUMMARY_BYTES - taken))
    except OSError as error:
        raise InfrastructureError(
            f"cannot write the step summary to {file}: {error.strerror or error}; "
            "unset GITHUB_STEP_SUMMARY to do without"
        ) from error


def _fitting(text: str, room: int) -> bytes:
    data = text.encode("utf-8", errors="backslashreplace")
    if len(data) <= room:
        return data
    end = b"\n\nThe rest is left out, as a step summary takes no more.\n"
    kept = data[: max(room - len(end), 0)].rpartition(b"\n")[0]
    return kept + end if kept else b""


def step_summary(outcome: RunOutcome) -> str:
    """The run as Markdown: its verdict, a row for each model and editor, the worst cases, the sequences and errors."""
    sections = [
        ["## Collapse gate"],
        *([f"**{markdown(sentence)}**"] for sentence in outcome.sentences),
        _groups(outcome.records),
        _titled("Against the baseline", [f"- {markdown(line.strip(), 500)}" for line in outcome.news[:_NEWS]]),
        _worst(outcome),
        _errors(outcome),
        _sequences(outcome),
        list(_closing(outcome)),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _groups(records: Sequence[Record]) -> list[str]:
    rows = [
        [
            code(group.model),
            code(group.editor),
            f"{group.cases:,}",
            *(f"{group.verdicts[verdict]:,}" for verdict in Verdict),
            *map(_NOTATION.perplexity, (group.unedited_me_ppl, group.median_me_ppl, group.worst_me_ppl)),
        ]
        for group in summarise(records)
    ]
    counts = ["cases", *(str(verdict) for verdict in Verdict)]
    return _table(["model", "editor"], [*counts, "ME-PPL unedited", "median", "worst"], rows)


def _worst(outcome: RunOutcome) -> list[str]:
    cases = worst_cases(outcome.records, limit=_SHOWN)
    rows = [
        [
            code(record.case_id, 100),
            code(_NOTATION.edit(record.request, 100)),
            str(record.verdict),
            code(outcome.rerun(record)),
            _NOTATION.perplexity(record.edited.me_ppl if record.edited else None),
        ]
        for record in cases
    ]
    return _titled("Worst cases", _table(["case", "edit", "verdict", "rerun"], ["ME-PPL"], rows))


def _errors(outcome: RunOutcome) -> list[str]:
    found: list[Record | SequenceRecord] = [*error_cases(outcome.records, limit=_SHOWN)]
    found += [record for record in outcome.sequences if record.verdict is Verdict.ERROR][:_SHOWN]
    rows = [
        [
            code(record.case_id, 100),
            str(record.error_kind or _NOTATION.absent),
            markdown(error_text(record) if isinstance(record, Record) else record.error or "no message", 500),
            code(outcome.rerun(record)),
        ]
        for record in found
    ]
    return _titled("Errors", _table(["case", "of", "message", "rerun"], [], rows))


def _sequences(outcome: RunOutcome) -> list[str]:
    rows = [
        [
            code(record.case_id, 100),
            str(record.verdict),
            code(outcome.rerun(record)),
            edits_made(record),
            _NOTATION.absent if record.collapsed_after is None else f"{record.collapsed_after:,}",
            _NOTATION.perplexity(worst_me_ppl(record)),
        ]
        for record in outcome.sequences
    ]
    numbers = ["edits", "collapse after", "ME-PPL worst"]
    return _titled("Sequences", _table(["sequence", "verdict", "rerun"], numbers, rows))


def _closing(outcome: RunOutcome) -> Iterator[str]:
    if outcome.resumed is not None:
        yield f"{outcome.resumed:,} of {len(outcome.records):,} cases are of earlier runs.  "
    if outcome.directory is not None:
        names = [RECORDS_FILE] if outcome.records else []
        names += [SEQUENCES_FILE] if outcome.sequences else []
        names += [_REPORT_PAGE] if Path(outcome.directory, _REPORT_PAGE).is_file() else []
        yield f"Report: {', '.join(code(str(PurePath(outcome.directory, name))) for name in names)}  "
    if outcome.problem is not None:
        yield f"**Records are incomplete:** {markdown(outcome.problem)}"


def _titled(title: str, lines: list[str]) -> list[str]:
    return [f"### {title}", "", *lines] if lines else []


def _table(texts: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of columns of text, then columns of numbers; nothing without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return []
    rule = ["---"] * len(texts) + ["---:"] * len(numbers)
    return [f"| {' | '.join([*texts, *numbers])} |", f"| {' | '.join(rule)} |", *lines]
