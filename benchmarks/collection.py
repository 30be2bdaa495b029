"""What the plugin itself costs: seconds to collect many cases, and milliseconds it adds to each case that runs.

    python -m benchmarks.collection --cases 20000 --runs 4000

Each measurement is a pytest of its own, in an empty directory. The second one replaces the engine by one that knows
every outcome beforehand, and compares with a bare test parametrised with as many ids, which is pytest's own share.
Fails if a limit is broken, or if collecting imports a framework.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from benchmarks.instant_gate import write_requests
from benchmarks.surroundings import child_environment

COLLECTION_LIMIT_S = 10.0
OVERHEAD_LIMIT_MS = 1.0
FRAMEWORKS = ("torch", "transformers")

#: No cache to write.
QUIET = ("-q", "-p", "no:cacheprovider")

BARE_TEST = """
import pytest

IDS = [f"model-editor-facts:{{index:04d}}" for index in range({count})]

@pytest.mark.parametrize("case", IDS, ids=IDS)
def test_single_edit(case):
    pass
"""


def measure(directory: Path, *arguments: str, instant: bool = False) -> dict[str, Any]:
    """Run pytest in a process of its own: seconds outside and inside, exit code, frameworks it imported."""
    result = directory / "result.json"
    command = [sys.executable, "-m", "benchmarks.collection", "--child", str(result)]
    command += ["--instant"] if instant else []
    start = time.perf_counter()
    subprocess.run([*command, "--", *arguments], cwd=directory, check=True, env=child_environment())
    outside = time.perf_counter() - start
    measured: dict[str, Any] = json.loads(result.read_text())
    if measured["exit"] != 0:
        raise SystemExit(f"pytest {' '.join(arguments)} ended with {measured['exit']}")
    return {**measured, "outside": outside}


def run_child(result: Path, instant: bool, arguments: Sequence[str]) -> None:
    """In the process that is measured: pytest, its output thrown away."""
    if instant:
        arguments = ["-p", "benchmarks.instant_gate", *arguments]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        start = time.perf_counter()
        code = pytest.main(list(arguments))
        seconds = time.perf_counter() - start
    imported = [name for name in FRAMEWORKS if name in sys.modules]
    result.write_text(json.dumps({"exit": int(code), "seconds": seconds, "imported": imported}))


def collection(directory: Path, cases: int) -> bool:
    write_requests(directory / "facts.jsonl", cases)
    found = measure(directory, "--editor=rome", "--edits=facts.jsonl", "--collect-only", *QUIET)
    good = found["outside"] < COLLECTION_LIMIT_S and not found["imported"]
    print(
        f"collecting {cases} cases: {found['outside']:.2f} s wall (limit {COLLECTION_LIMIT_S:g} s), "
        f"imported of {', '.join(FRAMEWORKS)}: {', '.join(found['imported']) or 'none'}"
    )
    return good


def overhead(directory: Path, runs: int, rounds: int) -> bool:
    write_requests(directory / "facts.jsonl", runs)
    (directory / "test_bare.py").write_text(BARE_TEST.format(count=runs))
    gate: list[float] = []
    bare: list[float] = []
    for _ in range(rounds):  # in turns, as the machine's speed drifts
        bare.append(measure(directory, "test_bare.py", *QUIET)["seconds"])
        gate.append(measure(directory, "--editor=rome", "--edits=facts.jsonl", *QUIET, instant=True)["seconds"])
    own: float = (median(gate) - median(bare)) / runs * 1000
    print(
        f"running {runs} cases that cost nothing: {median(gate):.2f} s, bare pytest {median(bare):.2f} s, "
        f"the plugin's own {own:.3f} ms a case (limit {OVERHEAD_LIMIT_MS:g} ms; median of {rounds})"
    )
    return own < OVERHEAD_LIMIT_MS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000, help="cases to collect")
    parser.add_argument("--runs", type=int, default=4_000, help="cases to run")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of the second measurement")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--instant", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("pytest_arguments", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child is not None:
        run_child(given.child, given.instant, given.pytest_arguments)
        return 0
    good = []
    with tempfile.TemporaryDirectory() as name:
        good.append(collection(Path(name), given.cases))
    with tempfile.TemporaryDirectory() as name:
        good.append(overhead(Path(name), given.runs, given.rounds))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
