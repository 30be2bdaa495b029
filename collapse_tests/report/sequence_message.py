"""What the failing test of a scenario or a search says, as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from rich.cells import cell_len

from collapse_tests.records import Verdict
from collapse_tests.report.formatting import Notation, perplexity, shorten_end, significant
from collapse_tests.report.message import task_row
from collapse_tests.report.sequences import me_ppl_curve, worst_me_ppl
from collapse_tests.report.sparkline import sparkline
from collapse_tests.report.store import scenario_text
from collapse_tests.sequence_record import SequenceRecord, SequenceStep

__all__ = ["sequence_message"]

_WIDTH = 100
_LABEL = 15
_VALUE = _WIDTH - _LABEL - 2
_ERROR_LINES = 8
_STEPS = 5
_TASKS = 8
_NOTATION = Notation()


def sequence_message(record: SequenceRecord, rerun: str, *, scenario_file: str | None = None) -> str:
    """The body of a failing test, in lines of at most 100 columns but for the scenario and the last line.

    Args:
        record: of a scenario or a search, of any verdict.
        rerun: the command line that runs it again; shown whole, so that it can be copied.
        scenario_file: where the requests of what a search found were written, or None.
    """
    lines = [f"  {label:<{_LABEL}}{shorten_end(value, _VALUE)}" for label, value in _rows(record)]
    if record.search is not None and record.requests:
        place = "" if scenario_file is None else f", in {_NOTATION.show(scenario_file)}"
        lines += [f"the smallest sequence found{place}:", scenario_text(record)]
    return "\n".join([*_head(record), *lines, f"rerun: {_NOTATION.show(rerun)}"])


def _head(record: SequenceRecord) -> list[str]:
    if record.verdict is Verdict.ERROR:
        return _wrapped(f"{record.verdict}: {record.error or 'no message'}")
    reason = f": {_NOTATION.show(record.reasons[0])}" if record.reasons else ""
    return [shorten_end(f"{record.verdict}{_after(record)}{reason}", _WIDTH)]


def _after(record: SequenceRecord) -> str:
    count = record.collapsed_after
    if count is None:
        return ""
    if record.search is None:
        return f" after {count:,} of {record.planned:,} {'edit' if record.planned == 1 else 'edits'}"
    return f" after {count:,} {'edit' if count == 1 else 'edits'}"


def _wrapped(text: str) -> list[str]:
    shown = _NOTATION.show(text)
    # `textwrap` counts characters; wide ones take two columns.
    width = _WIDTH if cell_len(shown) == len(shown) else _WIDTH // 2
    lines = textwrap.wrap(shown, width, subsequent_indent=" " * 7) or [""]
    return lines if len(lines) <= _ERROR_LINES else [*lines[: _ERROR_LINES - 1], " " * 7 + _NOTATION.ellipsis]


def _rows(record: SequenceRecord) -> list[tuple[str, str]]:
    rows = [("also", _NOTATION.show(reason)) for reason in record.reasons[1:4]]
    if record.unedited is not None:
        worst = worst_me_ppl(record)
        grown = f"{_NOTATION.perplexity(record.unedited.me_ppl)} {_NOTATION.arrow} {_NOTATION.perplexity(worst)}"
        rows.append(("ME-PPL", f"{grown} at worst, limit {perplexity(record.ppl_limit)}"))
    if record.steps:
        rows.append(("curve", sparkline(me_ppl_curve(record), record.ppl_limit, _NOTATION, _VALUE)))
    rows += _step_rows(record)
    rows += map(task_row, record.tasks[:_TASKS])
    if (search := record.search) is not None:
        tried = f"sequences tried {search.sequences:,}, edits computed {search.edits:,}"
        rows.append(("search", f"{tried}, known already {search.remembered:,}"))
    rows += [("note", _NOTATION.show(note)) for note in record.notes[:3]]
    return rows


def _step_rows(record: SequenceRecord) -> list[tuple[str, str]]:
    """The last steps, each with its request."""
    first = max(0, len(record.steps) - _STEPS)
    return [
        (f"edit {index + 1}", _step(record.steps[index], record.requests[index]))
        for index in range(first, min(len(record.steps), len(record.requests)))
    ]


def _step(step: SequenceStep, request: Mapping[str, str | None]) -> str:
    kept = f", retained {step.retained} of {step.earlier}" if step.earlier else ""
    took = "took" if step.success else "did not take"
    end = f"; ME-PPL {perplexity(step.perplexity.me_ppl)}, {took}{kept}, drift {significant(step.drift)}"
    return _NOTATION.edit(request, max(_VALUE - cell_len(end), 20)) + end
