"""The exit code of a run, which tells a model that collapsed from a machine that failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from collapse_tests.errors import ErrorKind
from collapse_tests.records import Verdict
from collapse_tests.scheduling import SUITE_TESTS

if TYPE_CHECKING:
    import pytest

__all__ = ["INFRASTRUCTURE_EXIT", "FailureTally"]

#: Nothing failed but what the editors and the tests have no part in. Pytest's own codes end at 5, and plugins take 6.
INFRASTRUCTURE_EXIT = 10

#: Pytest's own, as numbers, which its documentation fixes.
_OK, _TESTS_FAILED, _USAGE_ERROR = 0, 1, 4


class FailureTally:
    """What the failing tests of a run failed for."""

    def __init__(self) -> None:
        self._kinds: set[ErrorKind] = set()
        self._for_good_reason = False

    def note_regression(self) -> None:
        """Note that the run as a whole is worse than its baseline, which is as good a reason as a failing test.

        So it is where the machine failed in other cases: what it is worse in was measured.
        """
        self._for_good_reason = True

    def add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Count a test's report, or a file's that could not be collected, if it failed."""
        if not report.failed:
            return
        kind = _kind_of_report(report)
        if kind is None:
            self._for_good_reason = True
        else:
            self._kinds.add(kind)

    def exit_code(self, status: int, *, written: bool) -> int:
        """The exit code of the run.

        Args:
            status: what pytest or another plugin has come to; anything but 0 and 1 stays.
            written: whether all records and reports were.
        """
        if status not in (_OK, _TESTS_FAILED):
            return status
        if status == _OK:
            return _OK if written else INFRASTRUCTURE_EXIT
        if self._for_good_reason or not self._kinds:
            return status
        return INFRASTRUCTURE_EXIT if not written or ErrorKind.INFRASTRUCTURE in self._kinds else _USAGE_ERROR


def _kind_of_report(report: pytest.TestReport | pytest.CollectReport) -> ErrorKind | None:
    """Whose fault a failure is if the edit and the editor had no part in it, else None."""
    data: Mapping[str, Any] | None = getattr(report, "collapse_record", None)
    if data is None:
        data = getattr(report, "collapse_sequence", None)
    if data is None:
        return ErrorKind.INFRASTRUCTURE if _is_crash(report) else None
    if data["verdict"] != Verdict.ERROR:
        return None
    kind = data.get("error_kind")
    return ErrorKind(kind) if kind in (ErrorKind.USAGE, ErrorKind.INFRASTRUCTURE) else None


def _is_crash(report: pytest.TestReport | pytest.CollectReport) -> bool:
    """Whether xdist says that a worker died in a test of the gate, as it does when the system takes its memory."""
    test = report.nodeid.partition("[")[0].rpartition("::")[2]
    return getattr(report, "when", None) == "???" and test in SUITE_TESTS
