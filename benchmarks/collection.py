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
from types import SimpleNamespace
from typing import Any

import pytest

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


class InstantGate:
    """An engine that has measured every case already."""

    def outcome(self, case: Any) -> SimpleNamespace:
        """A stable record with every field filled."""
        from collapse_tests.records import EditQuality, Perplexity, Record, Verdict

        record = Record(
            case_id=case.id,
            model=case.model,
            editor=case.editor,
            edit_id=case.edit_id,
            request={"prompt": case.request.prompt, "subject": case.request.subject},
            verdict=Verdict.STABLE,
            unedited=Perplexity(167.0, 94.0, 50, 1100),
            edited=Perplexity(168.0, 95.0, 50, 1100),
            quality=EditQuality(True, True, True, True, 0.9, 0.01, 0.02),
            diagnostics={"denominator": 4.0, "update_norm_ratio": 0.1, "steps": 20.0},
            ppl_limit=1000.0,
            seconds={"edit": 0.0, "perplexity": 0.0, "quality": 0.0},
            model_digest="0" * 64,
        )
        return SimpleNamespace(record=record, repeated=False)


def write_requests(path: Path, count: int) -> None:
    """`count` different requests that no model will see."""
    with path.open("w", encoding="utf-8") as file:
        for index in range(count):
            record = {
                "prompt": f"Station {index:05d} of the line is called",
                "subject": f"Station {index:05d}",
                "target_new": "Harbour",
                "ground_truth": "Market",
                "rephrase_prompt": f"The name of station {index:05d} is",
                "locality_prompt": "The colour of the line is",
                "locality_ground_truth": "green",
            }
            print(json.dumps(record), file=file)


def measure(directory: Path, *arguments: str, instant: bool = False) -> dict[str, Any]:
    """Run pytest in a process of its own: seconds outside and inside, exit code, frameworks it imported."""
    result = directory / "result.json"
    command = [sys.executable, "-m", "benchmarks.collection", "--child", str(result)]
    command += ["--instant"] if instant else []
    place = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])}
    start = time.perf_counter()
    subprocess.run([*command, "--", *arguments], cwd=directory, check=True, env=environment)
    outside = time.perf_counter() - start
    measured: dict[str, Any] = json.loads(result.read_text())
    if measured["exit"] != 0:
        raise SystemExit(f"pytest {' '.join(arguments)} ended with {measured['exit']}")
    return {**measured, "outside": outside}


def run_child(result: Path, instant: bool, arguments: Sequence[str]) -> None:
    """In the process that is measured: pytest, its output thrown away."""
    if instant:
        from collapse_tests.session import GateSession

        gate = InstantGate()
        GateSession.gate = property(lambda self: gate)  # type: ignore[assignment]
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
