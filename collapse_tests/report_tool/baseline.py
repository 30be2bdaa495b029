"""`collapse-report baseline`: the baseline of a run that has been made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collapse_tests.commands import parsed, reporting, sayer
from collapse_tests.option_values import parse_path

__all__ = ["baseline"]


def baseline(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's directory, or its records.jsonl.")],
    out: Annotated[str, typer.Option(metavar="FILE", help="The baseline to write.")],
) -> None:
    """Make the baseline of a run, for pytest --baseline."""
    with reporting() as console:
        from collapse_tests.baseline.file import write_baseline
        from collapse_tests.baseline.snapshot import cases_and_scenarios
        from collapse_tests.errors import UsageError
        from collapse_tests.records import Verdict
        from collapse_tests.report.store import RECORDS_FILE
        from collapse_tests.report_tool.runs import run_from

        file = Path(parsed("--out", parse_path, out))
        if file.is_dir():
            raise UsageError(f"--out {file} is a directory; give a file, such as {file / 'baseline.json'}")
        if file.suffix == Path(RECORDS_FILE).suffix:
            raise UsageError(f"--out {file} ends as files of records do; give a name that ends in .json")
        found = run_from(parsed("RUN", parse_path, run), sayer(console)).snapshot
        if not found.cases and not found.scenarios:
            raise UsageError(f"{run} holds no single edit and no scenario; give a run that has some")
        verdicts = [case.verdict for case in found.cases.values()]
        verdicts += [scenario.verdict for scenario in found.scenarios.values()]
        errors = verdicts.count(Verdict.ERROR)
        if errors == len(verdicts):
            raise UsageError(f"every case of {run} ended in an error; give a run in which something was measured")
        changed = write_baseline(file, found)
        left_out = f"; {errors:,} that ended in an error left out" if errors else ""
        state = "written" if changed else "stays the same"
        cases = sum(one.verdict is not Verdict.ERROR for one in found.cases.values())
        told = cases_and_scenarios(cases, len(verdicts) - errors - cases)
        sayer(console)(f"Baseline {state}: {file}, {told}{left_out}.")
