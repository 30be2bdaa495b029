"""Cases a second of the whole gate on one GPU and on several of one host, each with a worker of its own.

    python -m benchmarks.scaling --edits FILE --workers 1,2,4
    python -m benchmarks.scaling --edits FILE --workers 1,2 --size llama2-7b --dtype bfloat16 --cases 512

Each number of workers is a pytest of its own that sees as many GPUs. `steady` is what counts for long runs: from the
end of each worker's first batch, which comes with loading the model, to its last record. `idle at the end` is the share
of the time since the first record of all that the workers together waited for the last of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.arguments import counts
from benchmarks.arrivals import Arrivals, steady_rate
from benchmarks.model_sizes import SIZES, save_random_model
from benchmarks.surroundings import child_environment, wide_console

__all__ = ["main"]

console = wide_console(110)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run.

    Attributes:
        workers: of the run.
        seconds: wall time of the whole command.
        times: worker → arrival of its records, in seconds since the controlling process started.
    """

    workers: int
    seconds: float
    times: dict[str, list[float]]

    @property
    def cases(self) -> int:
        """How many records came."""
        return sum(map(len, self.times.values()))

    @property
    def idle(self) -> float:
        """Share of the workers' time that they waited for the last of them, from the first record of all on."""
        last = [arrivals[-1] for arrivals in self.times.values()]
        start = min(arrivals[0] for arrivals in self.times.values())
        return sum(max(last) - end for end in last) / (len(last) * (max(last) - start))


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print the table."""
    arguments = _parser().parse_args(argv)
    if arguments.child is not None:
        return run_child(arguments.child, arguments.pytest_arguments)
    with tempfile.TemporaryDirectory() as name:
        model = [] if arguments.size is None else _random_model(arguments.size, Path(name), arguments.dtype)
        edits = arguments.edits
        if Path(edits).is_file():  # pytest would take its settings from beside a file that is elsewhere
            edits = shutil.copy(edits, Path(name) / "facts.json")
        options = [*model, "--edits", edits, "--edits-limit", str(arguments.cases)]
        options += ["--dtype", arguments.dtype, "--no-html", *shlex.split(arguments.gate_options)]
        runs: list[Measured] = []
        for count in arguments.workers:
            runs.append(measure(Path(name), count, options))
            console.print(table(runs))  # after each: what is measured is not lost
    return 0


def measure(directory: Path, workers: int, options: Sequence[str]) -> Measured:
    """The gate with so many workers, in a process of its own."""
    result = directory / f"{workers}.json"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(64)))).split(",")
    environment = child_environment() | {"CUDA_VISIBLE_DEVICES": ",".join(visible[:workers])}
    gate = ["-q", "--tb=no", "-p", "no:cacheprovider", "-n", str(workers), "--reports-dir", str(directory / "reports")]
    command = [sys.executable, "-m", "benchmarks.scaling", "--edits", "", "--child", str(result), "--"]
    start = time.perf_counter()
    subprocess.run([*command, *gate, *options], cwd=directory, env=environment, check=True)
    return Measured(workers, time.perf_counter() - start, json.loads(result.read_text()))


def run_child(result: Path, arguments: Sequence[str]) -> int:
    """In the process that is measured: pytest, with the arrivals noted."""
    import pytest

    arrivals = Arrivals()
    status = pytest.main(list(arguments), plugins=[arrivals])
    result.write_text(json.dumps(arrivals.times))
    return 0 if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else int(status)


def table(runs: Sequence[Measured]) -> Table:
    """Rates, and how much of that of as many single workers they are."""
    found = Table(title=f"{runs[0].cases} cases")
    for column in ("workers", "seconds", "cases/s, all", "cases/s, steady", "efficiency, steady", "idle at the end"):
        found.add_column(column, justify="right")
    base = steady_rate(runs[0].times) / runs[0].workers
    for run in runs:
        steady = steady_rate(run.times)
        found.add_row(
            str(run.workers),
            f"{run.seconds:.1f}",
            f"{run.cases / run.seconds:.2f}",
            f"{steady:.2f}",
            f"{steady / (base * run.workers):.2f}",
            f"{run.idle:.1%}",
        )
    return found


def _random_model(size: str, directory: Path, dtype: str) -> list[str]:
    """Options for a model of this size with random weights, on which no ME-PPL is below the usual limit."""
    place = save_random_model(size, directory, dtype)
    return ["--model", str(place), "--ppl-limit", "1e30", "--downstream", "never"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.split("\n")[0])
    parser.add_argument("--edits", required=True, metavar="FILE", help="request file or set")
    parser.add_argument("--cases", type=int, default=4_000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--workers", type=counts, default=(1, 2), metavar="N,N", help="the first is the base")
    parser.add_argument("--size", choices=SIZES, help="a model of this size with random weights, not the default one")
    parser.add_argument("--dtype", default="float32", help="of the weights (default: %(default)s)")
    parser.add_argument("--gate-options", default="--editor rome", help="further options (default: %(default)s)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("pytest_arguments", nargs="*", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
