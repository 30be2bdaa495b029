"""Cases a second that the controlling process takes in, and its memory, when editing and measuring cost nothing.

    python -m benchmarks.driver_throughput --cases 20000 [--ways alone,xdist,ray] [--workers 2]

Cases are made, sent to workers, answered by an engine that knows every outcome, sent back, turned into test reports and
written as records. `cases/s` counts from the first record to the last, `whole run` has start, collection and the end in
it. Memory is that of the controlling process; what a further case adds to it comes of a second run with half as many.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.arguments import names_among
from benchmarks.arrivals import Arrivals
from benchmarks.instant_gate import write_requests
from benchmarks.surroundings import child_environment, wide_console
from collapse_tests.distributed.ray_brief import FACTORY_VARIABLE

__all__ = ["main"]

WAYS = ("alone", "xdist", "ray")

console = wide_console(110)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run.

    Attributes:
        way: one of `WAYS`.
        cases: that came.
        seconds: wall time of the whole command.
        taking_in: seconds from the first record to the last.
        resident: largest memory of the controlling process, in bytes.
    """

    way: str
    cases: int
    seconds: float
    taking_in: float
    resident: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print the table."""
    arguments = _parser().parse_args(argv)
    if arguments.child is not None:
        return run_child(arguments.child, arguments.pytest_arguments)
    table = Table(title="The controlling process")
    for column in ("way", "cases", "cases/s", "whole run, cases/s", "GiB", "KiB a further case"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way in arguments.ways:
        half = measure(way, arguments.cases // 2, arguments.workers)
        full = measure(way, arguments.cases, arguments.workers)
        further = (full.resident - half.resident) / (full.cases - half.cases) / 1024
        rates = (f"{full.cases / full.taking_in:,.0f}", f"{full.cases / full.seconds:,.0f}")
        table.add_row(way, f"{full.cases:,}", *rates, f"{full.resident / 2**30:.2f}", f"{further:.1f}")
    console.print(table)
    return 0


def measure(way: str, cases: int, workers: int) -> Measured:
    """The gate with an engine of no cost, in an empty directory."""
    how = {
        "alone": ["-p", "benchmarks.instant_gate"],
        "xdist": ["-p", "benchmarks.instant_gate", "-n", str(workers)],
        "ray": ["--ray", "auto", "--ray-cpus", "1"],
    }[way]
    environment = child_environment() | {FACTORY_VARIABLE: "benchmarks.instant_gate:InstantGate"}
    with tempfile.TemporaryDirectory() as name:
        write_requests(Path(name) / "facts.jsonl", cases)
        gate = ["--editor=rome", "--edits=facts.jsonl", "-q", "-p", "no:cacheprovider", *how]
        command = [sys.executable, "-m", "benchmarks.driver_throughput", "--child", "result.json", "--", *gate]
        start = time.perf_counter()
        subprocess.run(command, cwd=name, check=True, env=environment, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        found = json.loads((Path(name) / "result.json").read_text())
    return Measured(way, found["cases"], seconds, found["taking_in"], found["resident"])


def run_child(result: Path, arguments: Sequence[str]) -> int:
    """In the controlling process: pytest, with the arrivals noted."""
    import pytest

    arrivals = Arrivals()
    status = pytest.main(list(arguments), plugins=[arrivals])
    arrivals.look_at_memory()
    times = sorted(time for worker in arrivals.times.values() for time in worker)
    found = {"cases": len(times), "taking_in": times[-1] - times[0], "resident": arrivals.resident}
    result.write_text(json.dumps(found))
    return int(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.driver_throughput", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--ways", type=names_among(WAYS), default=WAYS, metavar="WAY,WAY", help="(default: all)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="of xdist (default: %(default)s)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("pytest_arguments", nargs="*", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
