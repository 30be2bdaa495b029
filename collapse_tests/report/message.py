"""What a failing test says: one record as a few aligned lines of plain text."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len

from collapse_tests.records import EditQuality, Perplexity, Record, TaskResult, Verdict
from collapse_tests.report.formatting import Notation, perplexity, shorten_end, significant
from collapse_tests.report.rows import error_text, growth

__all__ = ["failure_message", "one_line", "task_row"]

_WIDTH = 100
_LABEL = 15
_VALUE = _WIDTH - _LABEL - 2
_NAME = 40
_ERROR_LINES = 8
_TASKS = 8
_NOTATION = Notation()


def failure_message(record: Record, rerun: str) -> str:
    """The body of a failing test, about ten lines of at most 100 columns; only the last one may be longer.

    Args:
        record: the case, of any verdict.
        rerun: the command line that runs just this case again; shown whole, so that it can be copied.
    """
    is_error = record.verdict is Verdict.ERROR
    head = _error_lines(record) if is_error else [shorten_end(f"{record.verdict}: {_headline(record)}", _WIDTH)]
    rows = _edit_rows(record) + ([] if is_error else _measurement_rows(record))
    lines = [f"  {label:<{_LABEL}}{shorten_end(value, _VALUE)}" for label, value in rows]
    return "\n".join([*head, *lines, f"rerun: {_NOTATION.show(rerun)}"])


def one_line(record: Record) -> str:
    """The case on one line of at most 100 columns, for a log or a progress display."""
    head = f"{shorten_end(_NOTATION.show(record.edit_id), _NAME)} {record.verdict}: "
    if record.verdict is Verdict.ERROR:
        return shorten_end(head + _NOTATION.show(error_text(record)), _WIDTH)
    head += f"ME-PPL {_change(record)}; "
    return head + _NOTATION.edit(record.request, _WIDTH - cell_len(head))


def task_row(result: TaskResult) -> tuple[str, str]:
    """Label and text of a task's line: its score before and after the edit and what it says."""
    return _task_label(result), _task(result)


def _headline(record: Record) -> str:
    if record.reasons:
        return _NOTATION.show(record.reasons[0])
    return f"ME-PPL {_change(record)}, limit {perplexity(record.ppl_limit)}"


def _error_lines(record: Record) -> list[str]:
    lines: list[str] = []
    for line in f"{record.verdict}: {error_text(record)}".strip().split("\n"):
        shown = _NOTATION.show(line)
        # `textwrap` counts characters; wide ones take two columns.
        width = _WIDTH if cell_len(shown) == len(shown) else _WIDTH // 2
        lines += textwrap.wrap(shown, width, subsequent_indent=" " * 7) or [""]
    return lines if len(lines) <= _ERROR_LINES else [*lines[: _ERROR_LINES - 1], " " * 7 + _NOTATION.ellipsis]


def _edit_rows(record: Record) -> list[tuple[str, str]]:
    old = record.request.get("ground_truth")
    was = "" if old is None else f" (was {shorten_end(_NOTATION.show(old), _NAME)})"
    return [
        ("subject", _NOTATION.show(record.request.get("subject") or "?")),
        ("edit", _NOTATION.edit(record.request, _VALUE - cell_len(was)) + was),
    ]


def _measurement_rows(record: Record) -> list[tuple[str, str]]:
    rows = [("also", _NOTATION.show(reason)) for reason in record.reasons[1:3]]
    rows.append(("ME-PPL", f"{_change(record)}, limit {perplexity(record.ppl_limit)}"))
    rows.append(("corpus PPL", f"{_corpus(record.unedited)} → {_corpus(record.edited)}"))
    rows += map(task_row, record.tasks[:_TASKS])
    for label, key in (("denominator", "denominator"), ("update/weight", "update_norm_ratio")):
        if key in record.diagnostics:
            rows.append((label, significant(record.diagnostics[key])))
    if record.quality is not None:
        rows.append(("edit success", _success(record.quality)))
    rows += [("note", _NOTATION.show(note)) for note in record.notes[:2]]
    for label, text in (("before", record.continuation_before), ("after", record.continuation_after)):
        if text is not None:
            rows.append((label, f'"{shorten_end(_NOTATION.show(text), _VALUE - 2)}"'))
    return rows


def _change(record: Record) -> str:
    """ME-PPL before and after the edit, with the factor between them."""
    before = record.unedited.me_ppl if record.unedited else None
    after = record.edited.me_ppl if record.edited else None
    factor = growth(record)
    grown = "" if factor is None else f" ({_NOTATION.growth(factor)})"
    return f"{_NOTATION.perplexity(before)} → {_NOTATION.perplexity(after)}{grown}"


def _corpus(measured: Perplexity | None) -> str:
    return _NOTATION.perplexity(measured.corpus_ppl if measured else None)


def _task_label(result: TaskResult) -> str:
    """The task's name without the prefix of the shipped ones; of a long one the end, which tells it from its like."""
    name = _NOTATION.show(result.task.removeprefix("collapse_"))
    return name if len(name) < _LABEL else _NOTATION.ellipsis + name[len(name) - _LABEL + 2 :]


def _task(result: TaskResult) -> str:
    """A task's score before and after the edit and what it says."""
    return (
        f"{result.metric} {result.unedited:.2f} → {result.edited:.2f}, {result.verdict} ({result.chance:.2f}, "
        f"p = {result.p_value:.1g}); {result.lost} lost, {result.gained} gained (p = {result.drop_p_value:.1g})"
    )


def _success(quality: EditQuality) -> str:
    old = quality.ground_truth_probability
    parts = [
        f"P(new) {significant(quality.target_probability_before)} → {significant(quality.target_probability)}",
        *([] if old is None else [f"P(old) {significant(old)}"]),
        f"greedy match {_word(quality.greedy_match)}",
    ]
    return f"{_word(quality.success)}; " + ", ".join(parts)


def _word(outcome: bool) -> str:
    return "yes" if outcome else "no"
