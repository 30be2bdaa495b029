"""Which block should ROME edit? Sweeps blocks over normal requests and prints what each does to a model.

    python -m benchmarks.choose_block --model smollm2-135m --edits normal --editor rome

The rule applied to the table, for a model that the literature gives no block for: among the blocks that collapse no
normal request, take the one with the largest mean of edit success, generalisation and locality. docs/default-block.md
holds the table for the default model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import fmean, median

from rich.console import Console
from rich.table import Table

from collapse_tests.cases import Case, expand_cases
from collapse_tests.datasets.texts import load_texts
from collapse_tests.editors.protocol import EditorContext, PreparedEditor
from collapse_tests.editors.registry import create_editor
from collapse_tests.engine.bench import Bench
from collapse_tests.engine.runner import BatchRunner
from collapse_tests.models.loading import load_model
from collapse_tests.records import EditQuality, Record, Verdict
from collapse_tests.settings import DEFAULT_MODEL, Override, Settings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--editor", default="rome")
    parser.add_argument("--edits", default="normal", help="a shipped set or a request file")
    parser.add_argument("--edits-limit", type=int)
    parser.add_argument("--blocks", help="comma list; default all")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=64)
    given = parser.parse_args(arguments)
    settings = Settings(
        editors=(given.editor,),
        models=(given.model,),
        edits=(given.edits,),
        edits_limit=given.edits_limit,
        device=given.device,
    )
    model = load_model(given.model, settings, print)
    bench = Bench(model, load_texts("default"), settings.ppl_limit)
    blocks = range(model.n_blocks) if given.blocks is None else [int(block) for block in given.blocks.split(",")]
    table = _table()
    for block in blocks:
        records = _records(bench, settings, expand_cases(settings), block, given.batch_size)
        table.add_row(str(block), *_columns(records))
    Console().print(table)


def _records(bench: Bench, settings: Settings, cases: Sequence[Case], block: int, size: int) -> list[Record]:
    overrides = (Override(settings.editors[0], "block", block),)
    asked = Settings(editors=settings.editors, models=settings.models, overrides=overrides)
    editor = create_editor(asked.editors[0], asked.models[0], asked)
    if isinstance(editor, PreparedEditor):
        editor.prepare(bench.model, EditorContext())
    runner = BatchRunner(bench, editor, settings, "main", lambda stage, done, total: None)
    return [record for first in range(0, len(cases), size) for record in runner.run(cases[first : first + size])]


def _table() -> Table:
    table = Table("block", "n", "success", "general.", "locality", "mean", "collapsed", "ME-PPL median", "ME-PPL worst")
    for column in table.columns:
        column.justify = "right"
    return table


def _columns(records: Sequence[Record]) -> list[str]:
    qualities = [record.quality for record in records if record.quality is not None]
    rates = [_rate(qualities, name) for name in ("success", "generalisation", "locality")]
    values = [record.edited.me_ppl for record in records if record.edited is not None]
    collapsed = sum(record.verdict is Verdict.COLLAPSED for record in records)
    return [
        str(len(values)),
        *(f"{rate:.3f}" for rate in (*rates, fmean(rates))),
        str(collapsed),
        f"{median(values):,.1f}",
        f"{max(values):,.1f}",
    ]


def _rate(qualities: Sequence[EditQuality], name: str) -> float:
    return fmean(bool(getattr(quality, name)) for quality in qualities if getattr(quality, name) is not None)


if __name__ == "__main__":
    main()
