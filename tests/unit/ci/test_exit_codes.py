from __future__ import annotations

from typing import Any

import pytest

from collapse_tests.ci.exit_codes import INFRASTRUCTURE_EXIT, FailureTally
from collapse_tests.errors import EditorError, ErrorKind, InfrastructureError, RestorationError, UsageError, kind_of
from collapse_tests.records import Verdict

GATE = "suite/test_single_edit.py::test_single_edit[m-rome-hard:0000]"


def report(*, failed: bool = True, nodeid: str = GATE, when: Any = "call", **carried: Any) -> pytest.TestReport:
    found = pytest.TestReport(nodeid, (nodeid, 0, ""), {}, "failed" if failed else "passed", None, when)
    for name, value in carried.items():
        setattr(found, f"collapse_{name}", value)
    return found


def error(kind: ErrorKind | None) -> pytest.TestReport:
    return report(record={"verdict": "error", "error_kind": kind})


def code(*reports: pytest.TestReport | pytest.CollectReport, status: int = 1, written: bool = True) -> int:
    tally = FailureTally()
    for one in reports:
        tally.add(one)
    return tally.exit_code(status, written=written)


COLLAPSE = report(record={"verdict": Verdict.COLLAPSED.value})
PASSED = report(failed=False, record={"verdict": "stable"})
LATE_USAGE = error(ErrorKind.USAGE)
BROKEN = error(ErrorKind.INFRASTRUCTURE)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([COLLAPSE], 1),
        ([COLLAPSE, BROKEN, LATE_USAGE], 1),
        ([report(record={"verdict": "ineffective"}), BROKEN], 1),
        ([error(ErrorKind.EDITOR), BROKEN], 1),
        ([error(ErrorKind.RESTORATION), BROKEN], 1),
        ([error(None)], 1),
        ([report(record={"verdict": "error"})], 1),  # of an earlier version
        ([report(nodeid="test_own.py::test_own"), BROKEN], 1),
        ([report(when="teardown"), BROKEN], 1),
        ([report(record={"verdict": "stable"}), BROKEN], 1),  # a test of the user's own that asserts more
        ([pytest.CollectReport("test_own.py", "failed", None, None), BROKEN], 1),
        ([BROKEN], INFRASTRUCTURE_EXIT),
        ([PASSED, BROKEN], INFRASTRUCTURE_EXIT),
        ([LATE_USAGE, BROKEN], INFRASTRUCTURE_EXIT),
        ([report(sequence={"verdict": "error", "error_kind": "infrastructure"})], INFRASTRUCTURE_EXIT),
        ([report(sequence={"verdict": "collapsed"}), BROKEN], 1),
        ([report(when="???")], INFRASTRUCTURE_EXIT),
        ([report(when="???", nodeid="test_own.py::test_own")], 1),
        ([LATE_USAGE], 4),
        ([PASSED, LATE_USAGE], 4),
        ([], 1),
    ],
)
def test_a_failing_run(reports: list[pytest.TestReport], expected: int) -> None:
    assert code(*reports) == expected


@pytest.mark.parametrize("status", [2, 3, 4, 5, 77])
def test_other_codes_stay(status: int) -> None:
    assert code(BROKEN, COLLAPSE, status=status) == code(BROKEN, status=status, written=False) == status


def test_what_could_not_be_written() -> None:
    assert code(PASSED, status=0) == 0
    assert code(PASSED, status=0, written=False) == INFRASTRUCTURE_EXIT
    assert code(COLLAPSE, written=False) == 1
    assert code(LATE_USAGE, written=False) == INFRASTRUCTURE_EXIT


def test_a_run_that_is_worse_than_its_baseline_has_a_reason_to_fail() -> None:
    tally = FailureTally()
    tally.add(BROKEN)
    tally.note_regression()
    assert tally.exit_code(1, written=True) == 1


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (EditorError("e"), ErrorKind.EDITOR),
        (RestorationError("rome", ["w"]), ErrorKind.RESTORATION),
        (UsageError("e"), ErrorKind.USAGE),
        (InfrastructureError("e"), ErrorKind.INFRASTRUCTURE),
        (RuntimeError("e"), ErrorKind.INFRASTRUCTURE),
    ],
)
def test_kinds_of_errors(raised: Exception, kind: ErrorKind) -> None:
    assert kind_of(raised) is kind
