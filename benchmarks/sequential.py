"""Edits in sequence on the same weights: ME-PPL after each, by editor.

    python -m benchmarks.sequential --editor memit,ft,mend --edits hard --steps 16

Each update is computed on the model as the edits before have left it; what an editor prepares once (templates, second
moments, a trained network) is that of the unedited model. A run ends where ME-PPL is no longer finite.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from collapse_tests.cache import cache_dir
from collapse_tests.datasets.requests import NamedRequest, load_requests
from collapse_tests.datasets.texts import load_texts
from collapse_tests.editors.protocol import Editor, EditorContext, PreparedEditor
from collapse_tests.editors.registry import create_editor
from collapse_tests.engine.scoring import Scorer
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.metrics.edit_quality import edit_quality, quality_rows
from collapse_tests.metrics.perplexity import perplexity, perplexity_rows
from collapse_tests.models.editable import EditableModel
from collapse_tests.models.loading import load_model
from collapse_tests.settings import DEFAULT_EDITS, DEFAULT_MODEL, DEFAULT_PPL_TEXTS, Settings

__all__ = ["main"]

#: Off a terminal rich would assume 80 columns.
console = Console(width=None if sys.stdout.isatty() else 120)


@dataclass(frozen=True, slots=True)
class Step:
    """After one edit: its id, ME-PPL, and whether it took."""

    edit_id: str
    me_ppl: float
    success: bool


def curve(model: EditableModel, editor: Editor, requests: Sequence[NamedRequest]) -> Iterator[Step]:
    """One step per edit; the weights are put back when the iterator ends or is closed."""
    scorer, texts = Scorer(model), perplexity_rows(model, load_texts(DEFAULT_PPL_TEXTS))
    with ExitStack() as edits:
        for named in requests:
            (update,) = editor.compute_updates(model, [named.request])
            rows = quality_rows(model, named.request)
            (before,) = scorer.each([rows.rows], [None])
            edits.enter_context(model.applied(update))
            after, scores = scorer.each([rows.rows, texts], [None, None])
            found = perplexity(scores).me_ppl
            yield Step(named.edit_id, found, edit_quality(rows, before, after).success)
            if not math.isfinite(found):
                return


def run(name: str, arguments: argparse.Namespace) -> list[Step]:
    """The curve of one editor on a fresh model copy."""
    settings = Settings(editors=(name,), models=(arguments.model,), device=arguments.device)
    model = load_model(arguments.model, settings, lambda line: None)
    editor = create_editor(name, arguments.model, settings)
    if isinstance(editor, PreparedEditor):
        editor.prepare(model, EditorContext(settings.seed, cache_dir()))
    steps: list[Step] = []
    for step in curve(model, editor, load_requests(arguments.edits)[: arguments.steps]):
        console.print(f"{name} {len(steps) + 1}: ME-PPL {step.me_ppl:,.2f}", highlight=False)
        steps.append(step)
    if changed := model.changed_tensors():
        raise InfrastructureError(f"{name}: {', '.join(changed)} did not come back after the sequence")
    return steps


def table(curves: dict[str, list[Step]], title: str) -> Table:
    """One line per step, two columns per editor."""
    result = Table(title=title)
    result.add_column("step", justify="right")
    result.add_column("edit")
    for name in curves:
        result.add_column(f"ME-PPL, {name}", justify="right")
        result.add_column("took")
    longest = max(curves.values(), key=len)
    for index, step in enumerate(longest):
        cells = []
        for steps in curves.values():
            here = steps[index] if index < len(steps) else None
            cells += ["", ""] if here is None else [f"{here.me_ppl:,.1f}", "yes" if here.success else "no"]
        result.add_row(str(index + 1), step.edit_id, *cells)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sequences and print the table; 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequential", description=__doc__.split("\n")[0])
    parser.add_argument("--editor", default="memit,ft,mend", metavar="NAME,…", help="(default: %(default)s)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="(default: %(default)s)")
    parser.add_argument("--edits", default=DEFAULT_EDITS, help="request set or file (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=16, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", help="(default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        curves = {name: run(name, arguments) for name in arguments.editor.split(",")}
    except (UsageError, InfrastructureError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        return 2
    console.print(table(curves, f"{arguments.edits} in sequence on {arguments.model}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
