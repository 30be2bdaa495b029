"""What xdist's workers died of, kept where the run is controlled and told to the workers by a small file."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapse_tests.distributed.faults import FaultLedger
from collapse_tests.scheduling import case_id_of

if TYPE_CHECKING:
    import pytest
    from xdist.workermanage import WorkerController

__all__ = ["FAULTS", "WorkerDeaths", "how_it_ended"]

#: Key of what workers are told: the file in which to read what is not to be tried any more.
FAULTS = "collapse_faults"

#: Seconds to wait for the exit status of a worker whose connection has ended.
_PATIENCE_S = 2.0


class WorkerDeaths:
    """Keeps the ledger of a run under xdist.

    Args:
        retries: how often a test is tried again.
        max_restarts: deaths after which the user wants the run to end, or None.

    Attributes:
        reported: node ids of the suite's tests that came to an outcome.
        in_vain: workers that died, one after the other, with no test finished in between nor one to blame.
    """

    def __init__(self, retries: int, max_restarts: int | None = None) -> None:
        self._ledger = FaultLedger(retries)
        self._max_restarts = max_restarts
        self._deaths = 0
        self._folder: Path | None = None
        self.reported: set[str] = set()
        self.in_vain = 0

    @property
    def ends_the_run(self) -> bool:
        """Whether no worker is started any more, as the user has said that so many are enough."""
        return self._max_restarts is not None and self._deaths > self._max_restarts

    def note_death(self, *, idle: bool) -> None:
        """Count the death of a worker; an idle one had no test yet."""
        self._deaths += 1
        self.in_vain = self.in_vain + 1 if idle else 0

    def note_report(self, report: pytest.TestReport) -> None:
        """Note that a test came to an outcome, if that is what a report of it says."""
        if report.when == "teardown" or (report.when == "setup" and report.passed):
            return
        self.in_vain = 0
        case_id = case_id_of(report.nodeid)
        if case_id is None:
            return
        self.reported.add(report.nodeid)
        if report.when == "call" and self._ledger.given_up(case_id) is None:
            self._ledger.finished(case_id)

    def died(self, node: WorkerController, nodeids: Sequence[str]) -> None:
        """Note the tests that a worker left when it died: the one it ran, and those of the same batch."""
        case_ids = [case_id for nodeid in nodeids if (case_id := case_id_of(nodeid)) is not None]
        self._ledger.died(case_ids, how_it_ended(node))
        self._write()

    def is_given_up(self, nodeid: str) -> bool:
        """Whether a test is one of the suite's and not tried any more."""
        case_id = case_id_of(nodeid)
        return case_id is not None and self._ledger.given_up(case_id) is not None

    def tell(self, workerinput: dict[str, Any]) -> None:
        """Tell a worker where to read what the others died of."""
        workerinput[FAULTS] = str(self._file)

    def close(self) -> None:
        """Remove the file."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def _file(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pytest-collapse-"))
        return self._folder / "faults.json"

    def _write(self) -> None:
        """Replace the file in one step, so that no worker ever reads half of it."""
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(self._ledger.to_dict()), encoding="utf-8")
        new.replace(self._file)


def how_it_ended(node: WorkerController) -> str:
    """The name of a worker that died and, where the system tells, what of."""
    name = f"worker {node.gateway.id}"
    status = _exit_status(node)
    if status is None:
        return f"{name} was lost"
    if status >= 0:
        return f"{name} ended with exit status {status}"
    with contextlib.suppress(ValueError):
        named = signal.Signals(-status).name
        why = ", as the system does when memory runs out" if named == "SIGKILL" else ""
        return f"{name} was killed by signal {-status} ({named}){why}"
    return f"{name} was killed by signal {-status}"


def _exit_status(node: WorkerController) -> int | None:
    """That of a worker's process, negative for a signal; None where it is not of this machine, or still there."""
    process = getattr(getattr(node.gateway, "_io", None), "popen", None)  # execnet keeps it to itself
    if not node.gateway.spec.popen or process is None:
        return None
    try:
        status: int = process.wait(timeout=_PATIENCE_S)
    except (subprocess.TimeoutExpired, OSError):
        return None
    return status
