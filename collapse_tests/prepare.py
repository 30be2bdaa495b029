"""`collapse-prepare`: an editor's one-off work for a model, done ahead of the runs that need it.

What it makes goes to the cache, where a run with the same editor, model, settings and seed finds it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collapse_tests.commands import parsed, reporting
from collapse_tests.errors import UsageError
from collapse_tests.option_values import (
    AUTO,
    DTYPES,
    parse_device,
    parse_dtype,
    parse_matmul_precision,
    parse_overrides,
    parse_seed,
)
from collapse_tests.settings import DEFAULT_MODEL, Override, Settings

if TYPE_CHECKING:
    from rich.console import Console

    from collapse_tests.editors.protocol import Editor, Progress

__all__ = ["app", "main", "prepare_editor"]

#: Hyper-parameter that names request files to train on, where an editor has it; `--edits` sets it.
_SOURCES_FIELD = "training_requests"
#: Hyper-parameter that keeps a run from long training, where an editor has it; this command exists to train.
_PERMISSION_FIELD = "train_on_first_use"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def command(
    editor: Annotated[str, typer.Argument(help="As for pytest --editor: a name, or package.module:attribute.")],
    model: Annotated[str, typer.Option(help="As for pytest --model.")] = DEFAULT_MODEL,
    edits: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Train on these request files. Repeats.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="EDITOR.FIELD=VALUE", help="Set a hyper-parameter. Repeats."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = AUTO,
    dtype: Annotated[str, typer.Option(help=f"One of {', '.join(DTYPES)}.")] = DTYPES[0],
    matmul_precision: Annotated[str, typer.Option(help="As for pytest --matmul-precision.")] = AUTO,
    seed: Annotated[str, typer.Option(metavar="N", help="Seeds everything random.")] = "0",
) -> None:
    """Do an editor's one-off work for a model: train a hypernetwork, gather statistics, sample contexts."""
    with reporting() as console:
        settings = Settings(
            editors=(editor,),
            models=(model,),
            device=parsed("--device", parse_device, device),
            dtype=parsed("--dtype", parse_dtype, dtype),
            matmul_precision=parsed("--matmul-precision", parse_matmul_precision, matmul_precision),
            seed=parsed("--seed", parse_seed, seed),
            overrides=tuple(one for text in overrides or () for one in parsed("--set", parse_overrides, text)),
        )
        _check(settings, edits or [])
        prepare_editor(settings, edits or [], console)


def prepare_editor(settings: Settings, sources: list[str], console: Console) -> Path | None:
    """Prepare the one editor of `settings` for its one model.

    Args:
        settings: of the runs that will use it.
        sources: request files to train on; none for the editor's own.
        console: for progress.

    Returns:
        Where the result lies, if the editor says so and the cache otherwise; None if it needs no preparation.

    Raises:
        UsageError: no such editor or model, or this editor is not trained on requests.
        CollapseError: loading the model or the editor's work failed.
    """
    from collapse_tests.cache import cache_dir
    from collapse_tests.editors.protocol import EditorContext, PreparedEditor
    from collapse_tests.models.loading import load_model

    (name,), (model_name,) = settings.editors, settings.models
    editor = _editor(settings, sources)
    if not isinstance(editor, PreparedEditor):
        console.print(f"{name} needs no preparation", markup=False, highlight=False)
        return None
    cache = cache_dir()
    start = time.monotonic()
    model = load_model(model_name, settings, lambda line: console.print(line, markup=False, highlight=False))
    with _progress(console) as progress:
        editor.prepare(model, EditorContext(settings.seed, cache, progress))
    if changed := model.changed_tensors():
        from collapse_tests.errors import RestorationError

        raise RestorationError(name, changed)
    path = getattr(editor, "prepared_path", None) or cache
    seconds = time.monotonic() - start
    console.print(
        f"{name} is prepared for {model_name} ({seconds:.0f} s): {path}", markup=False, highlight=False, soft_wrap=True
    )
    return Path(path)


def _editor(settings: Settings, sources: list[str]) -> Editor:
    """The editor, with `sources` to train on and leave to train where it has fields for that."""
    from collapse_tests.editors.registry import create_editor

    (name,), (model,) = settings.editors, settings.models
    editor = create_editor(name, model, settings)
    fields = getattr(type(getattr(editor, "hyperparameters", None)), "model_fields", {})
    extra: list[Override] = []
    if sources:
        if _SOURCES_FIELD not in fields:
            raise UsageError(f"--edits {sources[0]!r}: editor {name!r} is not trained on requests; leave --edits out")
        extra.append(Override(name, _SOURCES_FIELD, sources))
    if _PERMISSION_FIELD in fields:
        extra.append(Override(name, _PERMISSION_FIELD, True))
    if not extra:
        return editor
    return create_editor(name, model, replace(settings, overrides=(*settings.overrides, *extra)))


def _check(settings: Settings, sources: list[str]) -> None:
    """Every name and file that would else be stumbled over after the model is loaded."""
    from collapse_tests.datasets.requests import load_requests
    from collapse_tests.editors.registry import check_editor
    from collapse_tests.models.specs import resolve_spec

    (name,), (model,) = settings.editors, settings.models
    check_editor(name)
    for override in settings.overrides:
        if override.editor != name:
            raise UsageError(f"--set {override.editor}.{override.field}: the editor to prepare is {name}; name that")
    resolve_spec(model)
    for source in sources:
        load_requests(source)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    """A live line on a terminal; elsewhere a plain line for each stage."""
    if not console.is_terminal:
        yield _plain_lines(console)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as LiveProgress

    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=20)]
    with LiveProgress(*columns, MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True) as live:
        task = live.add_task("preparing", total=None)
        yield lambda stage, done, total: live.update(task, description=stage, completed=done, total=total)


def _plain_lines(console: Console) -> Progress:
    shown: set[str] = set()

    def show(stage: str, done: int, total: int) -> None:
        if stage not in shown:
            shown.add(stage)
            console.print(f"{stage} ({done} of {total})", markup=False, highlight=False, soft_wrap=True)

    return show


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
