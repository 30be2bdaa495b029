"""A worker of xdist: what it was told of its GPUs, of the other workers, and of what they died of."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import pytest

from collapse_tests.cases import Case
from collapse_tests.distributed.faults import FaultLedger
from collapse_tests.distributed.gpus import GPUS, VISIBLE
from collapse_tests.distributed.outcomes import AnyOutcome, Repetitions, failed_outcome
from collapse_tests.distributed.xdist_deaths import FAULTS
from collapse_tests.environment import usable_cores

if TYPE_CHECKING:
    from collapse_tests.engine.outcome import Outcome
    from collapse_tests.records import Record
    from collapse_tests.sequence.cases import SequenceCase
    from collapse_tests.sequence_record import SequenceRecord
    from collapse_tests.settings import Settings

__all__ = ["XdistWorker", "take_gpus"]


class XdistWorker:
    """What the process that controls the run told this one. As a container: the ids of what shares no batch any more.

    Args:
        workerinput: what xdist handed over.

    Attributes:
        name: of this worker.
        count: of workers.
    """

    def __init__(self, workerinput: dict[str, Any]) -> None:
        self.name: str = workerinput["workerid"]
        self.count = int(workerinput["workercount"])
        told = workerinput.get(FAULTS)
        self._file = None if told is None else Path(told)
        self._stamp: tuple[int, int, int] | None = None
        self._ledger = FaultLedger()
        self._repetitions = Repetitions()

    @classmethod
    def of(cls, config: pytest.Config) -> Self | None:
        """The worker that this process is, or None."""
        workerinput = getattr(config, "workerinput", None)
        return None if workerinput is None else cls(workerinput)

    def share_threads(self) -> None:
        """Take this worker's share of the cores; imports torch."""
        import torch

        torch.set_num_threads(max(1, usable_cores() // self.count))

    def __contains__(self, case_id: object) -> bool:
        return case_id in self._ledger.alone

    @overload
    def given_up(self, case: Case, settings: Settings) -> Outcome[Record] | None: ...

    @overload
    def given_up(self, case: SequenceCase, settings: Settings) -> Outcome[SequenceRecord] | None: ...

    def given_up(self, case: Case | SequenceCase, settings: Settings) -> AnyOutcome | None:
        """The outcome of a case or sequence that is not tried any more, or None; what is known by now counts."""
        self._read()
        reason = self._ledger.given_up(case.id)
        if reason is None:
            return None
        outcome = failed_outcome(case, settings, self.name, reason, shared=self._ledger.is_shared(reason))
        return self._repetitions.marked(outcome)

    def _read(self) -> None:
        """Read the file if it has changed. There is none before the first death, nor on another machine."""
        if self._file is None:
            return
        try:
            found = self._file.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp != self._stamp:
                self._ledger = FaultLedger.from_dict(json.loads(self._file.read_text(encoding="utf-8")))
                self._stamp = stamp
        except OSError:
            return


def take_gpus(config: pytest.Config) -> None:
    """In a worker, let CUDA see this worker's GPUs only; before anything asks CUDA for them."""
    tokens = getattr(config, "workerinput", {}).get(GPUS)
    if tokens is None:
        return
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        told = (
            f"CUDA was started before worker {config.workerinput['workerid']} could be given its own GPU, "  # type: ignore[attr-defined]
            "so that all workers compute on the same one; let no conftest.py or plugin use CUDA when it is imported"
        )
        config.issue_config_time_warning(pytest.PytestWarning(told), stacklevel=2)
    os.environ[VISIBLE] = ",".join(tokens)
