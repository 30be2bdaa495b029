"""What was measured in a test, by name, for JUnit's properties."""

from __future__ import annotations

from collections.abc import Iterable

from collapse_tests.records import Record, TaskResult
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["properties"]


def properties(record: Record | SequenceRecord) -> list[tuple[str, object]]:
    """Name and value of each measurement."""
    rows = _of_sequence(record) if isinstance(record, SequenceRecord) else _of_case(record)
    return [*_of_any(record), *rows]


def _of_any(record: Record | SequenceRecord) -> list[tuple[str, object]]:
    """What is said of a case and a sequence alike."""
    rows: list[tuple[str, object]] = [
        ("collapse.verdict", str(record.verdict)),
        ("collapse.model", record.model),
        ("collapse.editor", record.editor),
        ("collapse.ppl_limit", record.ppl_limit),
    ]
    if record.reasons:
        rows.append(("collapse.reason", record.reasons[0]))
    if record.error_kind is not None:
        rows.append(("collapse.error_kind", str(record.error_kind)))
    return rows


def _of_case(record: Record) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for side in ("unedited", "edited"):
        measured = getattr(record, side)
        if measured is not None:
            rows += [(f"collapse.{side}.me_ppl", measured.me_ppl), (f"collapse.{side}.corpus_ppl", measured.corpus_ppl)]
    if record.quality is not None:
        quality = record.quality
        rows += [
            ("collapse.success", quality.success),
            ("collapse.generalisation", quality.generalisation),
            ("collapse.locality", quality.locality),
        ]
    rows += _of_tasks(record.tasks)
    rows += [(f"collapse.{name}", value) for name, value in record.diagnostics.items()]
    rows += [(f"collapse.seconds.{name}", value) for name, value in record.seconds.items()]
    return rows


def _of_sequence(record: SequenceRecord) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("collapse.edits", len(record.steps))]
    if record.collapsed_after is not None:
        rows.append(("collapse.collapsed_after", record.collapsed_after))
    if record.unedited is not None:
        rows.append(("collapse.unedited.me_ppl", record.unedited.me_ppl))
    if record.steps:
        last = record.steps[-1]
        rows += [("collapse.edited.me_ppl", last.perplexity.me_ppl), ("collapse.drift", last.drift)]
        rows += [("collapse.retained", last.retained), ("collapse.earlier", last.earlier)]
    return rows + _of_tasks(record.tasks)


def _of_tasks(tasks: Iterable[TaskResult]) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for result in tasks:
        rows += [
            (f"collapse.{result.task}.{name}", getattr(result, name))
            for name in ("unedited", "edited", "p_value", "lost", "gained", "drop_p_value")
        ]
        rows.append((f"collapse.{result.task}.verdict", str(result.verdict)))
    return rows
