"""Builds the records of sequences from what was walked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import replace

from collapse_tests.edit_request import EditRequest
from collapse_tests.errors import CollapseError, ErrorKind, kind_of
from collapse_tests.records import TaskResult, Verdict
from collapse_tests.sequence.cases import SequenceCase
from collapse_tests.sequence.judging import edits, first_collapse, why_collapsed
from collapse_tests.sequence.node import Node
from collapse_tests.sequence_record import SequenceKind, SequenceRecord
from collapse_tests.settings import DEFAULT_PPL_TEXTS, DEFAULT_SCENARIO_PPL_TEXTS, Settings
from collapse_tests.verdict import task_reasons

__all__ = ["blank_record", "collapsed", "failed", "ppl_texts_of", "sequence_error_record", "survived", "with_curve"]

#: Edits that a sentence names, at most.
_NAMED = 5


def ppl_texts_of(kind: SequenceKind, settings: Settings) -> str:
    """The sentences a kind of test measures ME-PPL on: a search measures many states, a scenario few."""
    default = DEFAULT_SCENARIO_PPL_TEXTS if kind is SequenceKind.SCENARIO else DEFAULT_PPL_TEXTS
    return settings.ppl_texts or default


def blank_record(case: SequenceCase, settings: Settings, worker: str) -> SequenceRecord:
    """A record of a test before anything is known of it."""
    scenario = case.kind is SequenceKind.SCENARIO
    return SequenceRecord(
        case_id=case.id,
        model=case.model,
        editor=case.editor,
        name=case.name,
        kind=case.kind,
        verdict=Verdict.ERROR,
        planned=len(case.requests) if scenario else settings.machine_steps,
        ppl_limit=settings.ppl_limit,
        ppl_texts=ppl_texts_of(case.kind, settings),
        seed=settings.seed,
        worker=worker,
    )


def with_curve(record: SequenceRecord, nodes: Sequence[Node], more: Iterable[EditRequest] = ()) -> SequenceRecord:
    """The record with the steps and requests of some states, and `more` requests that led to none."""
    requests = [*(node.last.request for node in nodes), *more]
    return replace(
        record,
        steps=tuple(node.step() for node in nodes),
        requests=tuple(dataclasses.asdict(request) for request in requests),
    )


def sequence_error_record(case: SequenceCase, settings: Settings, worker: str, error: CollapseError) -> SequenceRecord:
    """The record of a test about which nothing was learnt."""
    return failed(blank_record(case, settings, worker), str(error), kind_of(error))


def failed(record: SequenceRecord, message: str, kind: ErrorKind) -> SequenceRecord:
    """The record as an error, with whatever it holds.

    Args:
        record: of the test.
        message: what went wrong.
        kind: whose fault that is.
    """
    return replace(record, verdict=Verdict.ERROR, reasons=(message,), error=message, error_kind=kind)


def collapsed(record: SequenceRecord, nodes: Sequence[Node], tasks: Sequence[TaskResult]) -> SequenceRecord | None:
    """The record of a sequence in which the model collapses, or None if it does not.

    Args:
        record: with its curve.
        nodes: the states after each edit; one or more.
        tasks: downstream accuracy in the last one.
    """
    first = first_collapse(nodes, record.ppl_limit)
    by_tasks = task_reasons(tasks)
    if first is None:
        if not by_tasks:
            return None
        return replace(record, verdict=Verdict.COLLAPSED, reasons=by_tasks, collapsed_after=len(nodes))
    return replace(
        record,
        verdict=Verdict.COLLAPSED,
        reasons=(
            *why_collapsed(nodes[first - 1], record.ppl_limit),
            *(f"after {edits(len(nodes))}, {reason}" for reason in by_tasks),
        ),
        collapsed_after=first,
    )


def survived(record: SequenceRecord) -> SequenceRecord:
    """The record of a sequence that the model survived; ineffective if some edit did not take."""
    lost = [step.edit_id for step in record.steps if not step.success]
    if not lost:
        return replace(record, verdict=Verdict.STABLE)
    named = ", ".join(lost[:_NAMED]) + (", …" if len(lost) > _NAMED else "")
    reason = f"{len(lost)} of {edits(len(record.steps))} did not take: {named}"
    return replace(record, verdict=Verdict.INEFFECTIVE, reasons=(reason,))
