"""A long run of the whole gate through pytest: where the time goes, whether it is linear, whether memory stays flat.

    python -m benchmarks.scale --edits FILE_OF_10000_REQUESTS
    python -m benchmarks.scale --edits hard --cases 72 --gate-options "--editor c-rome"

pytest runs in this process, so that its memory can be read between the tests.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
from rich.table import Table

from benchmarks.surroundings import wide_console

__all__ = ["main"]

console = wide_console(110)


@dataclass(frozen=True, slots=True)
class Sample:
    """State of the process after some tests.

    Attributes:
        tests: how many have run.
        seconds: since the process started.
        resident: bytes of memory.
        device: bytes of device memory held by tensors, or 0 without a GPU.
    """

    tests: int
    seconds: float
    resident: int
    device: int


class Sampler:
    """A pytest plugin that reads clock and memory every `every` tests."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.tests = 0
        self.samples: list[Sample] = []
        self.process = psutil.Process()
        #: Seconds since the process started at which each part of the run ended.
        self.ends: dict[str, float] = {}

    def pytest_sessionstart(self) -> None:
        """Python, pytest and its plugins are there."""
        self.ends["start"] = self.seconds()

    def pytest_collection_finish(self) -> None:
        """The cases are made."""
        self.ends["collection"] = self.seconds()

    def pytest_runtest_logfinish(self) -> None:
        """Count, and take a sample in its turn; the first test's batch is the start."""
        self.tests += 1
        self.ends["tests"] = self.seconds()
        if self.tests == 1 or self.tests % self.every == 0:
            self.take()

    def seconds(self) -> float:
        """Since the process started."""
        return time.time() - float(self.process.create_time())

    def take(self) -> None:
        """Take a sample."""
        torch: Any = sys.modules.get("torch")
        on_gpu = torch is not None and torch.cuda.is_available()
        self.samples.append(
            Sample(
                tests=self.tests,
                seconds=self.seconds(),
                resident=self.process.memory_info().rss,
                device=torch.cuda.memory_allocated() if on_gpu else 0,
            )
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the gate and print the tables; pytest's exit status unless it is that some tests failed."""
    arguments = _parser().parse_args(argv)
    sampler = Sampler(max(1, arguments.cases // arguments.samples))
    with TemporaryDirectory() as reports:
        options = ["--edits", arguments.edits, "--edits-limit", str(arguments.cases), "--reports-dir", reports]
        command = ["-q", "--tb=no", "-p", "no:cacheprovider", "--no-header", "--no-summary", *options]
        status = pytest.main([*command, *shlex.split(arguments.gate_options)], plugins=[sampler])
        sampler.take()
        records = [json.loads(line) for path in Path(reports).glob("*/records.jsonl") for line in path.open()]
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or not records:
        return int(status) or 1
    console.print(phases(records, sampler))
    console.print(course(sampler.samples))
    return 0


def phases(records: Sequence[dict[str, Any]], sampler: Sampler) -> Table:
    """Where the wall time went."""
    total, first, ends = sampler.samples[-1].seconds, sampler.samples[0].seconds, sampler.ends
    engine: dict[str, float] = {}
    for record in records:
        for name, seconds in record["seconds"].items():
            engine[name] = engine.get(name, 0.0) + seconds
    parts = {
        "start of Python and pytest": ends["start"],
        "collection": ends["collection"] - ends["start"],
        **{f"engine: {name}": seconds for name, seconds in engine.items()},
        "model, context templates, pytest, records": ends["tests"] - ends["collection"] - sum(engine.values()),
        "end of the run, reports": total - ends["tests"],
    }
    # The first result comes with all of its batch.
    table = Table(title=f"{len(records)} cases in {total:.1f} s, first result after {first:.1f} s")
    table.add_column("")
    for column in ("seconds", "share", "ms a case"):
        table.add_column(column, justify="right")
    for name, seconds in parts.items():
        table.add_row(name, f"{seconds:.1f}", f"{seconds / total:.0%}", f"{1000 * seconds / len(records):.2f}")
    return table


def course(samples: Sequence[Sample]) -> Table:
    """Time and memory over the run."""
    table = Table(title="Over the run")
    for column in ("tests", "seconds", "ms a test since the line above", "resident GiB", "device GiB"):
        table.add_column(column, justify="right")
    before: Sample | None = None
    for sample in samples:
        pace = ""
        if before is not None and sample.tests > before.tests:
            pace = f"{1000 * (sample.seconds - before.seconds) / (sample.tests - before.tests):.1f}"
        memory = (f"{size / 2**30:.2f}" for size in (sample.resident, sample.device))
        table.add_row(str(sample.tests), f"{sample.seconds:.1f}", pace, *memory)
        before = sample
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--edits", required=True, metavar="FILE", help="request file or set")
    parser.add_argument("--cases", type=int, default=10_000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--samples", type=int, default=10, metavar="N", help="of memory (default: %(default)s)")
    parser.add_argument("--gate-options", default="--editor rome", help="further options (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
