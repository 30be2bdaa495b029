"""`collapse-prepare`: an editor's one-off work for a model, done ahead of the runs that need it.

What it makes goes to the cache, where a run with the same editor, model, settings and seed finds it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collapse_tests.command_options import (
    DeviceMapOption,
    DeviceOption,
    DtypeOption,
    MatmulPrecisionOption,
    ModelOption,
    OverridesOption,
    SeedOption,
    check_computing,
    computing,
)
from collapse_tests.commands import live_progress, reporting
from collapse_tests.errors import UsageError
from collapse_tests.option_values import AUTO, DEVICE_MAPS, DTYPES
from collapse_tests.settings import DEFAULT_MODEL, Override, Settings

if TYPE_CHECKING:
    from rich.console import Console

    from collapse_tests.editors.protocol import Editor

__all__ = ["app", "main", "prepare_editor"]

#: Hyper-parameter that names request files to train on, where an editor has it; `--edits` sets it.
_SOURCES_FIELD = "training_requests"
#: Hyper-parameter that keeps a run from long training, where an editor has it; this command exists to train.
_PERMISSION_FIELD = "train_on_first_use"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def command(
    editor: Annotated[str, typer.Argument(help="As for pytest --editor: a name, or package.module:attribute.")],
    model: ModelOption = DEFAULT_MODEL,
    edits: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Train on these request files. Repeats.")
    ] = None,
    overrides: OverridesOption = None,
    device: DeviceOption = AUTO,
    device_map: DeviceMapOption = DEVICE_MAPS[0],
    dtype: DtypeOption = DTYPES[0],
    matmul_precision: MatmulPrecisionOption = AUTO,
    seed: SeedOption = "0",
) -> None:
    """Do an editor's one-off work for a model: train a hypernetwork, gather statistics, sample contexts."""
    with reporting() as console:
        how = computing(overrides, device, device_map, dtype, matmul_precision, seed)
        settings = how.applied_to(Settings(editors=(editor,), models=(model,)))
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
    with live_progress(console) as progress:
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
    check_computing(settings)
    resolve_spec(model)
    for source in sources:
        load_requests(source)


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
