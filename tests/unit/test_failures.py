from __future__ import annotations

import pytest

from collapse_tests.failures import (
    CaseError,
    CollapseFailure,
    GateFailure,
    IneffectiveEditFailure,
    failure_of,
)
from collapse_tests.records import Record, Verdict


def record(verdict: Verdict) -> Record:
    return Record("m-e-f:0", "m", "e", "f:0", {}, verdict)


@pytest.mark.parametrize(
    ("verdict", "lenient", "strict"),
    [
        (Verdict.STABLE, None, None),
        (Verdict.COLLAPSED, CollapseFailure, CollapseFailure),
        (Verdict.INEFFECTIVE, None, IneffectiveEditFailure),
        (Verdict.ERROR, CaseError, CaseError),
    ],
)
def test_which_verdicts_fail(verdict: Verdict, lenient: type[GateFailure], strict: type[GateFailure]) -> None:
    assert failure_of(record(verdict), fail_ineffective=False) is lenient
    assert failure_of(record(verdict), fail_ineffective=True) is strict


def test_a_failure_is_an_assertion_that_carries_its_record() -> None:
    failure = CollapseFailure(record(Verdict.COLLAPSED), "ME-PPL is inf")
    assert isinstance(failure, AssertionError)
    assert failure.record.case_id == "m-e-f:0"
    assert str(failure) == "ME-PPL is inf"
