"""When each record of a run arrived where the run is controlled, and from which worker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

__all__ = ["Arrivals", "steady_rate"]


class Arrivals:
    """A pytest plugin of the controlling process.

    Attributes:
        times: worker → seconds since this process started, one for each of its records.
        resident: the largest memory of this process that was seen, in bytes.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.times: dict[str, list[float]] = {}
        self.resident = 0
        self._count = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note the arrival of a record."""
        record = getattr(report, "collapse_record", None)
        if record is not None:
            now = time.time() - float(self._process.create_time())
            self.times.setdefault(str(record["worker"]), []).append(now)
            self._count += 1
            if self._count % 1000 == 1:
                self.look_at_memory()

    def look_at_memory(self) -> None:
        """Keep the largest memory seen."""
        self.resident = max(self.resident, int(self._process.memory_info().rss))


def steady_rate(times: Mapping[str, Sequence[float]], gap: float = 0.2) -> float:
    """Records a second of all workers together, each from the end of its first batch to its last record.

    A worker's first batch comes with loading the model and all that is done once; it counts for nothing here.

    Args:
        times: as `Arrivals` has them.
        gap: seconds without a record by which a batch's end is known.

    Raises:
        ValueError: a worker has but one batch, so that nothing can be said of it.
    """
    total = 0.0
    for worker, arrivals in times.items():
        first = next((i for i in range(1, len(arrivals)) if arrivals[i] - arrivals[i - 1] > gap), None)
        if first is None:
            raise ValueError(f"{worker} sent a single batch; take more cases")
        total += (len(arrivals) - first) / (arrivals[-1] - arrivals[first - 1])
    return total
