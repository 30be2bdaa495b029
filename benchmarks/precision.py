"""Whether verdicts depend on how fast they are computed: the gate in several precisions and batch sizes.

    python -m benchmarks.precision --edits FILE --cases 2000
    python -m benchmarks.precision --edits FILE,hard --cases 144 --setups float32,bfloat16-products

Each setup is a run of pytest of its own; the first one named is what the others are compared with.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from benchmarks.arguments import names_among
from benchmarks.surroundings import wide_console
from collapse_tests.records import Record, Verdict

__all__ = ["main"]

#: Name → options of the gate.
SETUPS = {
    "float32": ["--matmul-precision", "float32"],
    "tf32": ["--matmul-precision", "tf32"],
    "bfloat16-products": ["--matmul-precision", "bfloat16"],
    "bfloat16": ["--dtype", "bfloat16"],
    "float32-batch-1": ["--matmul-precision", "float32", "--batch-size", "1"],
    "float32-batch-64": ["--matmul-precision", "float32", "--batch-size", "64"],
    "tf32-batch-1": ["--matmul-precision", "tf32", "--batch-size", "1"],
    "tf32-batch-64": ["--matmul-precision", "tf32", "--batch-size", "64"],
}

console = wide_console(120)


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one setup by case id, and its wall time in seconds."""

    setup: str
    records: dict[str, Record]
    seconds: float

    def count(self, verdict: Verdict) -> int:
        """Cases with a verdict."""
        return sum(record.verdict is verdict for record in self.records.values())


def run(setup: str, arguments: argparse.Namespace) -> Run:
    """Run the gate in one setup, on several workers where batches are small."""
    workers = ["-n", str(arguments.workers)] if "batch-1" in setup and arguments.workers > 1 else []
    with TemporaryDirectory() as reports:
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "--no-summary", "-p", "no:cacheprovider"]
        command += ["--editor", arguments.editor, "--edits", arguments.edits, "--edits-limit", str(arguments.cases)]
        command += ["--reports-dir", reports, *SETUPS[setup], *workers]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        lines = [line for path in Path(reports).glob("*/records.jsonl") for line in path.open(encoding="utf-8")]
    if not lines:
        sys.exit(f"{setup}: no records\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    records = [Record.from_dict(json.loads(line)) for line in lines]
    result = Run(setup, {record.case_id: record for record in records}, seconds)
    console.print(f"{setup}: {len(records)} cases in {seconds:.1f} s", highlight=False)
    return result


def distances(reference: Run, other: Run) -> list[float]:
    """|ln(ME-PPL / limit)| of the reference, for every case whose collapse is judged differently."""
    found = []
    for case_id, record in reference.records.items():
        twin = other.records[case_id]
        if (record.verdict is Verdict.COLLAPSED) != (twin.verdict is Verdict.COLLAPSED) and record.edited is not None:
            found.append(abs(math.log(record.edited.me_ppl / record.ppl_limit)))
    return found


def deviations(reference: Run, other: Run, verdict: Verdict) -> list[float]:
    """|ln(ME-PPL / reference ME-PPL)| of the cases that both give a verdict, in ascending order."""
    found = []
    for case_id, record in reference.records.items():
        twin = other.records[case_id]
        if record.verdict is verdict is twin.verdict and record.edited is not None and twin.edited is not None:
            found.append(abs(math.log(twin.edited.me_ppl / record.edited.me_ppl)))
    return sorted(found)


def table(runs: Sequence[Run]) -> Table:
    """One line per setup, compared with the first."""
    result = Table(
        title=f"{len(runs[0].records)} cases, compared with {runs[0].setup}",
        caption="other: cases that collapse in one setup alone; band: how far ME-PPL is from the limit on them; "
        "Δ: relative difference of ME-PPL, the largest of stable and the median of collapsed cases",
    )
    columns = ("setup", "stable", "collapsed", "ineff.", "error", "other", "band", "Δ stable", "Δ collapsed", "seconds")
    for column in columns:
        result.add_column(column, justify="left" if column == "setup" else "right", no_wrap=True)
    for each in runs:
        counts = [str(each.count(verdict)) for verdict in Verdict]
        near = distances(runs[0], each)
        stable, collapsed = (deviations(runs[0], each, verdict) for verdict in (Verdict.STABLE, Verdict.COLLAPSED))
        result.add_row(
            each.setup,
            *counts,
            str(len(near)),
            f"×{math.exp(max(near)):.2f}" if near else "",
            f"{math.expm1(stable[-1]):.2%}" if stable else "",
            f"{math.expm1(collapsed[len(collapsed) // 2]):.1%}" if collapsed else "",
            f"{each.seconds:.0f}",
        )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run every setup and print the table."""
    arguments = _parser().parse_args(argv)
    runs = [run(setup, arguments) for setup in arguments.setups]
    console.print(table(runs))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__.split("\n")[0])
    parser.add_argument("--edits", required=True, metavar="FILE", help="request files or sets, by comma")
    parser.add_argument("--cases", type=int, default=2000, metavar="N", help="of each set (default: %(default)s)")
    parser.add_argument("--editor", default="rome", help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes where the batch size is 1")
    parser.add_argument(
        "--setups",
        type=names_among(SETUPS),
        default=tuple(SETUPS),
        metavar="S,…",
        help=f"of {', '.join(SETUPS)} (default: all)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
