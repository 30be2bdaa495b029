"""What a run is asked for, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from collapse_tests.errors import UsageError
from collapse_tests.settings import Settings

__all__ = ["check_settings"]


def check_settings(settings: Settings) -> None:
    """Refuse a name, a file or a combination that a run would else stumble over after minutes of loading.

    Raises:
        UsageError: naming it.
    """
    from collapse_tests.datasets.requests import load_requests
    from collapse_tests.datasets.texts import load_texts
    from collapse_tests.editors.registry import check_editor
    from collapse_tests.models.placement import check_device_map
    from collapse_tests.models.specs import resolve_spec

    check_device_map(settings)
    for editor in settings.editors:
        check_editor(editor)
    for override in settings.overrides:
        if override.editor not in settings.editors:
            raise UsageError(
                f"{override.place}: no editor {override.editor!r} in this run; it has {', '.join(settings.editors)}"
            )
    for model in settings.models:
        resolve_spec(model)
    for source in (*settings.edits, *settings.scenarios, *settings.machines):
        load_requests(source, skip_broken=settings.skip_broken)
    if settings.machines and find_spec("hypothesis") is None:
        raise UsageError("--machine needs Hypothesis, which is not installed; pip install hypothesis")
    if settings.ppl_texts is not None:
        load_texts(settings.ppl_texts)
    if settings.tasks_data is not None:
        _check_task_data(settings.tasks, settings.tasks_data)
    if settings.shard is not None and settings.update_baseline:
        raise UsageError(
            f"--update-baseline with --shard {settings.shard}: no shard knows the outcomes of the others; merge their "
            "runs with collapse-report merge, and make the baseline of that with collapse-report baseline"
        )
    if settings.reports_dir.exists() and not settings.reports_dir.is_dir():
        raise UsageError(f"--reports-dir {str(settings.reports_dir)!r} is a file; give a directory, new or not")


def _check_task_data(names: Iterable[str], folder: Path) -> None:
    from collapse_tests.metrics.downstream.catalogue import expand_tasks
    from collapse_tests.metrics.downstream.local_data import read_splits

    for task in expand_tasks(names):
        # Of what a group or a tag consists only lm-eval knows, which is too slow to ask here.
        for part in task.parts if task.known and not task.shipped else ():
            read_splits(part, folder)
