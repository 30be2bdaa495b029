"""`collapse-data mine`: the requests of a set that collapse a model, found by editing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.command_options import (
    BatchSizeOption,
    DeviceMapOption,
    DeviceOption,
    DtypeOption,
    MatmulPrecisionOption,
    OverridesOption,
    SeedOption,
    computing,
)
from collapse_tests.commands import live_progress, parsed, parsed_if_given, reporting, sayer
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
from collapse_tests.errors import EditorError, UsageError
from collapse_tests.option_values import AUTO, DEVICE_MAPS, DTYPES, parse_path, parse_positive_integer, parse_ppl_limit
from collapse_tests.settings import DEFAULT_MODEL, DEFAULT_PPL_LIMIT, DEFAULT_PPL_TEXTS, Settings
from collapse_tests.shards import WHOLE, Shard, parse_shard

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from collapse_tests.cases import Case
    from collapse_tests.mining.sweep import SweepResult

    Say = Callable[[str], None]

__all__ = ["mine"]


def mine(
    requests: RequestsArgument,
    out: Annotated[str, typer.Option(metavar="FILE", help="Write the requests that collapse to this .jsonl file.")],
    editor: EditorsOption = "rome",
    model: ModelsOption = DEFAULT_MODEL,
    records: Annotated[
        str | None, typer.Option(metavar="DIR", help="Keep the records here and go on from those there are.")
    ] = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Edit this part of the requests only.")] = "1/1",
    collect: Annotated[
        bool, typer.Option("--collect", help="Edit nothing: take what records there are, as after all shards.")
    ] = False,
    riskiest: Annotated[str | None, typer.Option(metavar="N", help="Edit the N riskiest requests only.")] = None,
    edits_limit: LimitOption = None,
    edits_sample: SampleOption = None,
    skip_broken: SkipBrokenOption = False,
    ppl_limit: Annotated[str, typer.Option(metavar="X", help="As for pytest --ppl-limit.")] = str(DEFAULT_PPL_LIMIT),
    ppl_texts: Annotated[str, typer.Option(metavar="FILE", help="As for pytest --ppl-texts.")] = DEFAULT_PPL_TEXTS,
    overrides: OverridesOption = None,
    device: DeviceOption = AUTO,
    device_map: DeviceMapOption = DEVICE_MAPS[0],
    dtype: DtypeOption = DTYPES[0],
    matmul_precision: MatmulPrecisionOption = AUTO,
    batch_size: BatchSizeOption = None,
    seed: SeedOption = "0",
) -> None:
    """Edit every request alone and keep those that collapse a model, with their ME-PPL and the editor's numbers."""
    with reporting() as console:
        path = Path(parsed("--out", parse_path, out))
        check_out(path)
        directory = _directory(records, path)
        part = parsed("--shard", parse_shard, shard)
        count = parsed_if_given("--riskiest", parse_positive_integer, riskiest)
        if collect and (part != WHOLE or count is not None):
            raise UsageError("--collect edits nothing, so leave --shard and --riskiest out beside it")
        settings = run_settings(
            requests,
            editor,
            model,
            computing(overrides, device, device_map, dtype, matmul_precision, seed, batch_size),
            limit=edits_limit,
            sample=edits_sample,
            skip_broken=skip_broken,
            ppl_limit=parsed("--ppl-limit", parse_ppl_limit, ppl_limit),
            ppl_texts=parsed("--ppl-texts", parse_path, ppl_texts),
        )
        cases = checked_cases(settings)
        say = sayer(console)
        if collect:
            result = _collected(settings, cases, directory, say)
        else:
            result = _swept(settings, cases, directory, part, count, console)
        _keep(result, path, part, console)


def _directory(records: str | None, path: Path) -> Path:
    """Where the records are kept: beside the requests, if nothing else is said."""
    directory = path.with_suffix(".sweep") if records is None else Path(parsed("--records", parse_path, records))
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"--records {str(directory)!r} is no directory; give one, or a name that is free")
    return directory


def _collected(settings: Settings, cases: Sequence[Case], directory: Path, say: Say) -> SweepResult:
    from collapse_tests.kept_records import KeptRecords
    from collapse_tests.mining.sweep import collect

    result = collect(cases, KeptRecords(directory, settings, say))
    if not result.records:
        raise UsageError(
            f"--records {str(directory)!r} has no records of these requests made with these settings; "
            "name their directory, or leave --collect out"
        )
    if result.missing:
        say(f"{len(result.missing):,} of {len(cases):,} edits have no record yet")
    return result


def _swept(
    settings: Settings, cases: Sequence[Case], directory: Path, part: Shard, count: int | None, console: Console
) -> SweepResult:
    from collapse_tests.engine.gate import Gate
    from collapse_tests.mining.ranking import riskiest
    from collapse_tests.mining.sweep import Sweep

    say = sayer(console)
    with live_progress(console) as progress:
        gate = Gate(settings, (), say=say, progress=progress)
        chosen = cases if count is None else riskiest(gate, cases, count)
        return Sweep(gate, directory, say).run(part.of(chosen))


def _keep(result: SweepResult, path: Path, part: Shard, console: Console) -> None:
    """Print what was found and write it, unless it is a part of the whole.

    Raises:
        EditorError: not one edit could be made.
    """
    from collapse_tests.datasets.writing import write_request_file
    from collapse_tests.mining.subset import hard_requests
    from collapse_tests.mining.tables import print_sweep
    from collapse_tests.records import Verdict

    say = sayer(console)
    print_sweep(result, console)
    failed = [record for record in result.records if record.verdict is Verdict.ERROR]
    if failed:
        told = f"{len(failed):,} edits ended in an error; the first, {failed[0].edit_id}: {failed[0].error}"
        if len(failed) == len(result.records):
            raise EditorError(told)
        say(told)
    hard = hard_requests(result.records)
    if part != WHOLE:
        say(f"{len(hard):,} requests of shard {part} collapse a model; after all shards run this with --collect")
        return
    write_request_file(path, (request.to_dict() for request in hard))
    say(f"{len(hard):,} requests that collapse a model are in {path}")
