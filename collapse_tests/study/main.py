"""`collapse-study`: what the study of collapse shows in its tables and its figure, on any model and editor.

`worst` reads records of a run and imports no framework; `levels` edits a model.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.command_options import (
    DeviceMapOption,
    DeviceOption,
    DtypeOption,
    EditorOption,
    MatmulPrecisionOption,
    ModelOption,
    OverridesOption,
    PplTextsOption,
    SeedOption,
    check_computing,
    computing,
)
from collapse_tests.commands import parsed, parsed_if_given, reporting, sayer
from collapse_tests.option_values import (
    AUTO,
    DEVICE_MAPS,
    DTYPES,
    parse_names,
    parse_path,
    parse_positive_integer,
    parse_ppl_limit,
)
from collapse_tests.settings import DEFAULT_MODEL, DEFAULT_PPL_TEXTS, DEFAULT_TASKS, Downstream, Settings
from collapse_tests.study.table_files import check_csv, write_csv

if TYPE_CHECKING:
    from rich.console import Console

    from collapse_tests.datasets.requests import NamedRequest

__all__ = ["app", "main"]

_LEVELS = "100,500,1000,5000,10000,50000"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

Csv = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Write the single rows to this file, too.")]


@app.callback()
def study() -> None:
    """The tables and the figure of 'The Butterfly Effect of Model Editing', on any model and editor."""


@app.command()
def worst(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's directory, or its records.jsonl.")],
    cases: Annotated[str, typer.Option(metavar="N", help="How many edits of each model and editor.")] = "30",
    csv: Csv = None,
) -> None:
    """The worst edits of a run by ME-PPL: downstream accuracy, edit quality, and what locality misses."""
    with reporting() as console:
        from collapse_tests.report.store import read_records
        from collapse_tests.study.worst_rows import case_rows, worst_groups
        from collapse_tests.study.worst_tables import print_worst

        count = parsed("--cases", parse_positive_integer, cases)
        file = _csv(csv)
        records, problems = read_records(Path(parsed("RUN", parse_path, run)))
        for problem in problems:
            sayer(console)(f"warning: {problem}")
        groups = worst_groups(records, count)
        print_worst(groups, console)
        if file is not None:
            write_csv(file, case_rows(groups))


@app.command()
def levels(
    editor: EditorOption,
    model: ModelOption = DEFAULT_MODEL,
    edits: Annotated[str, typer.Option(metavar="SET", help="As for pytest --edits: facts that collapse it.")] = "hard",
    edits_limit: Annotated[str | None, typer.Option(metavar="N", help="Take at most the first N edits.")] = None,
    levels: Annotated[str, typer.Option(metavar="X,Y,...", help="Levels of ME-PPL.")] = _LEVELS,
    edits_per_level: Annotated[str, typer.Option(metavar="N", help="Models to make at each level.")] = "8",
    tasks: Annotated[str, typer.Option(metavar="NAME,...", help="As for pytest --tasks.")] = DEFAULT_TASKS,
    tasks_limit: Annotated[str | None, typer.Option(metavar="N", help="As for pytest --tasks-limit.")] = None,
    tasks_data: Annotated[str | None, typer.Option(metavar="DIR", help="As for pytest --tasks-data.")] = None,
    ppl_texts: PplTextsOption = DEFAULT_PPL_TEXTS,
    overrides: OverridesOption = None,
    device: DeviceOption = AUTO,
    device_map: DeviceMapOption = DEVICE_MAPS[0],
    dtype: DtypeOption = DTYPES[0],
    matmul_precision: MatmulPrecisionOption = AUTO,
    seed: SeedOption = "0",
    csv: Csv = None,
) -> None:
    """ME-PPL against downstream accuracy, on edited models that are made to have given levels of ME-PPL."""
    with reporting() as console:
        settings = Settings(
            editors=(editor,),
            models=(model,),
            edits=(parsed("--edits", parse_path, edits),),
            edits_limit=parsed_if_given("--edits-limit", parse_positive_integer, edits_limit),
            ppl_texts=parsed("--ppl-texts", parse_path, ppl_texts),
            tasks=tuple(dict.fromkeys(parsed("--tasks", parse_names, tasks))),
            tasks_limit=parsed_if_given("--tasks-limit", parse_positive_integer, tasks_limit),
            tasks_data=parsed_if_given("--tasks-data", lambda text: Path(parse_path(text)), tasks_data),
            downstream=Downstream.EACH,
            ppl_limit=math.inf,  # any model can be studied that gives a number
        )
        settings = computing(overrides, device, device_map, dtype, matmul_precision, seed).applied_to(settings)
        wanted = parsed("--levels", _parse_levels, levels)
        per_level = parsed("--edits-per-level", parse_positive_integer, edits_per_level)
        file = _csv(csv)
        _print_levels(settings, _requests(settings), wanted, per_level, file, console)


def _print_levels(
    settings: Settings,
    requests: list[NamedRequest],
    wanted: tuple[float, ...],
    per_level: int,
    file: Path | None,
    console: Console,
) -> None:
    from collapse_tests.study.level_rows import level_rows
    from collapse_tests.study.level_tables import print_levels
    from collapse_tests.study.levels import study_levels

    found = study_levels(settings, requests, wanted, per_level, sayer(console))
    print_levels(found, console)
    if file is not None:
        write_csv(file, level_rows(found))


def _requests(settings: Settings) -> list[NamedRequest]:
    """The requests, after every name that would else be stumbled over once frameworks are imported."""
    from collapse_tests.datasets.requests import load_requests
    from collapse_tests.datasets.texts import load_texts
    from collapse_tests.editors.registry import check_editor
    from collapse_tests.models.specs import resolve_spec

    (name,), (model,), (source,) = settings.editors, settings.models, settings.edits
    check_editor(name)
    check_computing(settings)
    resolve_spec(model)
    load_texts(settings.ppl_texts or DEFAULT_PPL_TEXTS)
    return load_requests(source, limit=settings.edits_limit)


def _parse_levels(text: str) -> tuple[float, ...]:
    return tuple(sorted({parse_ppl_limit(one) for one in parse_names(text)}))


def _csv(text: str | None) -> Path | None:
    path = parsed_if_given("--csv", lambda given: Path(parse_path(given)), text)
    if path is not None:
        check_csv(path)
    return path


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
