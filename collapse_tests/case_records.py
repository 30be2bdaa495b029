"""Records of cases that were not, or not yet, measured; needs no framework."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

from collapse_tests.cases import Case
from collapse_tests.errors import CollapseError, kind_of
from collapse_tests.records import Record, Verdict
from collapse_tests.settings import Settings

__all__ = ["blank_record", "error_record"]


def blank_record(case: Case, settings: Settings, worker: str) -> Record:
    """A record of a case before anything is known of it."""
    return Record(
        case_id=case.id,
        model=case.model,
        editor=case.editor,
        edit_id=case.edit_id,
        request=dataclasses.asdict(case.request),
        verdict=Verdict.ERROR,
        ppl_limit=settings.ppl_limit,
        seed=settings.seed,
        worker=worker,
    )


def error_record(case: Case, settings: Settings, worker: str, error: CollapseError) -> Record:
    """The record of a case about which nothing was learnt."""
    message = str(error)
    blank = blank_record(case, settings, worker)
    return replace(blank, reasons=(message,), error=message, error_kind=kind_of(error))
