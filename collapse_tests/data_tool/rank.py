"""`collapse-data rank`: requests by the risk that an edit collapses the model, told without an edit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.command_options import (
    DeviceMapOption,
    DeviceOption,
    DtypeOption,
    MatmulPrecisionOption,
    OverridesOption,
    SeedOption,
    computing,
)
from collapse_tests.commands import live_progress, parsed, reporting, sayer
from collapse_tests.data_tool.run_settings import (
    EditorsOption,
    LimitOption,
    ModelsOption,
    RequestsArgument,
    SampleOption,
    SkipBrokenOption,
    checked_cases,
    run_settings,
)
from collapse_tests.datasets.writing import check_out
from collapse_tests.errors import UsageError
from collapse_tests.option_values import AUTO, DEVICE_MAPS, DTYPES, parse_names, parse_path, parse_positive_integer
from collapse_tests.settings import DEFAULT_MODEL, Settings

if TYPE_CHECKING:
    from rich.console import Console

    from collapse_tests.cases import Case
    from collapse_tests.engine.preflight import Foresight
    from collapse_tests.records import Record

__all__ = ["rank"]

_TESTED = "10,25,50,100,500"


def rank(
    requests: RequestsArgument,
    editor: EditorsOption = "rome",
    model: ModelsOption = DEFAULT_MODEL,
    show: Annotated[str, typer.Option(metavar="N", help="Print the N riskiest of each model and editor.")] = "20",
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the requests in this order to this .jsonl file.")
    ] = None,
    outcomes: Annotated[
        str | None, typer.Option(metavar="RUN", help="Compare with a run of these edits: its directory or a sweep's.")
    ] = None,
    tested: Annotated[str, typer.Option(metavar="N,...", help="With --outcomes: how many edits to test.")] = _TESTED,
    edits_limit: LimitOption = None,
    edits_sample: SampleOption = None,
    skip_broken: SkipBrokenOption = False,
    overrides: OverridesOption = None,
    device: DeviceOption = AUTO,
    device_map: DeviceMapOption = DEVICE_MAPS[0],
    dtype: DtypeOption = DTYPES[0],
    matmul_precision: MatmulPrecisionOption = AUTO,
    seed: SeedOption = "0",
) -> None:
    """Requests by the risk that an edit collapses the model, the riskiest first, without making any edit."""
    with reporting() as console:
        count = parsed("--show", parse_positive_integer, show)
        sizes = [parsed("--tested", parse_positive_integer, text) for text in parsed("--tested", parse_names, tested)]
        path = None if out is None else Path(parsed("--out", parse_path, out))
        settings = run_settings(
            requests,
            editor,
            model,
            computing(overrides, device, device_map, dtype, matmul_precision, seed),
            limit=edits_limit,
            sample=edits_sample,
            skip_broken=skip_broken,
            ppl_limit=math.inf,  # nothing is judged
        )
        if path is not None:
            check_out(path)
        cases = checked_cases(settings)
        known = None if outcomes is None else _outcomes(outcomes, cases, console)
        _rank(settings, cases, known, count, sizes, path, console)


def _rank(
    settings: Settings,
    cases: Sequence[Case],
    known: dict[str, Record] | None,
    count: int,
    sizes: Sequence[int],
    path: Path | None,
    console: Console,
) -> None:
    from collapse_tests.engine.gate import Gate
    from collapse_tests.mining import ranking

    with live_progress(console) as progress:
        ranked = ranking.rank(Gate(settings, (), say=sayer(console), progress=progress), cases)
    for model in settings.models:
        for editor in settings.editors:
            group = [(case, seen) for case, seen in ranked if (case.model, case.editor) == (model, editor)]
            _print_ranked(group, known, count, sizes, console)
    if path is not None:
        _write_ranked(path, ranked, sayer(console))


def _print_ranked(
    ranked: Sequence[tuple[Case, Foresight]],
    known: dict[str, Record] | None,
    count: int,
    sizes: Sequence[int],
    console: Console,
) -> None:
    """One model and editor: its riskiest requests, those that say nothing, and how well it foretold."""
    from collapse_tests.mining.prediction import judge_prediction
    from collapse_tests.mining.tables import print_prediction, print_ranking
    from collapse_tests.records import Verdict

    first = ranked[0][0]
    say = sayer(console)
    say(f"{first.model} under {first.editor}: the {min(count, len(ranked)):,} riskiest of {len(ranked):,} requests")
    print_ranking(ranked[:count], known or {}, console)
    silent = [(case, seen) for case, seen in ranked if seen.error is not None]
    if silent:
        say(f"{len(silent):,} requests have no risk; the first, {silent[0][0].edit_id}: {silent[0][1].error}")
    if known is None:
        return
    made = [known[case.id] for case, _ in ranked if case.id in known]
    learnt = [record.verdict is Verdict.COLLAPSED for record in made if record.verdict is not Verdict.ERROR]
    print_prediction(judge_prediction(learnt, sizes), console)


def _write_ranked(path: Path, ranked: Sequence[tuple[Case, Foresight]], say: Callable[[str], None]) -> None:
    from collapse_tests.datasets.writing import request_fields, write_request_file
    from collapse_tests.plain_data import encode

    write_request_file(
        path,
        (
            {
                **request_fields(case.request),
                "source": case.edit_id,
                "model": case.model,
                "editor": case.editor,
                "risk": encode(seen.risk),
            }
            for case, seen in ranked
        ),
    )
    say(f"{len(ranked):,} requests, the riskiest first, are in {path}")


def _outcomes(run: str, cases: Sequence[Case], console: Console) -> dict[str, Record]:
    """The outcomes of a run, of every model and editor at least one.

    Raises:
        UsageError: there is no run, or none of a model and editor in it.
    """
    from collapse_tests.kept_records import outcomes_of
    from collapse_tests.records import Verdict

    known = parsed("--outcomes", lambda text: outcomes_of(cases, Path(parse_path(text)), sayer(console)), run)
    learnt = {(record.model, record.editor) for record in known.values() if record.verdict is not Verdict.ERROR}
    for case in cases:
        if (case.model, case.editor) not in learnt:
            raise UsageError(
                f"--outcomes {run!r} has no outcome of {case.model} under {case.editor} for these requests; "
                "give a run that has, or leave that model or editor out"
            )
    return known
