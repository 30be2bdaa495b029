"""Names → lm-eval's task objects, offline for the shipped ones and where the user gives the data."""

from __future__ import annotations

import difflib
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.metrics.downstream.catalogue import SHIPPED_FOLDER, TaskName
from collapse_tests.metrics.downstream.local_data import read_splits
from collapse_tests.metrics.downstream.squad import answerable_squad

__all__ = ["LoadedTask", "load_task", "quiet"]


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task with its data.

    Attributes:
        name: as the user gave it.
        parts: lm-eval's task objects.
    """

    name: str
    parts: tuple[Any, ...]


@contextmanager
def quiet() -> Iterator[None]:
    """Without lm-eval's progress bars and remarks, for the time of a `with` block."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def load_task(task: TaskName, data: Path | None, say: Callable[[str], None]) -> LoadedTask:
    """The task objects that a name stands for.

    Args:
        task: what to load.
        data: directory with the data of tasks that are not shipped, or None to let lm-eval load them.
        say: takes a line of progress.

    Raises:
        UsageError: there is no such task, or no data of it in the directory.
        InfrastructureError: lm-eval could not load the data.
    """
    local = None if data is None or task.shipped else data
    with quiet():
        if task.parts == ("squadv2",):
            return LoadedTask(task.name, (_loaded("squadv2", lambda: answerable_squad(_dataset("squadv2", local))),))
        manager = _manager(task, say)
        leaves = [leaf for part in task.parts for leaf in _leaves(manager, part, task)]
        return LoadedTask(task.name, tuple(_part(manager, leaf, local) for leaf in leaves))


def _manager(task: TaskName, say: Callable[[str], None]) -> Any:
    import lm_eval.tasks

    if task.shipped:
        return lm_eval.tasks.TaskManager(include_path=SHIPPED_FOLDER, include_defaults=False)
    if task.folder is not None:
        folder = Path(lm_eval.tasks.__file__).parent / task.folder
        return lm_eval.tasks.TaskManager(include_path=folder, include_defaults=False)
    say(f"looking for the task {task.name} among all of lm-eval's, which takes a while")
    return lm_eval.tasks.TaskManager()


def _leaves(manager: Any, name: str, task: TaskName) -> list[str]:
    """Names of the single tasks in `name`, which may be a group or a tag of lm-eval."""
    if name not in manager.task_index:
        near = difflib.get_close_matches(name, manager.all_tasks, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`lm-eval ls tasks` lists them"
        raise UsageError(f"--tasks {task.name!r}: lm-eval has no task of that name; {hint}")
    if name in manager.all_subtasks:
        return [name]
    if name in manager.all_tags:
        return [leaf for child in sorted(manager.task_index[name].tags) for leaf in _leaves(manager, child, task)]
    return list(_loaded(name, lambda: manager.load([name]))["tasks"])


def _part(manager: Any, name: str, data: Path | None) -> Any:
    dataset = _dataset(name, data)
    wanted: Any = name
    if dataset is not None:
        # Only as a member of a group does lm-eval take a task of its own with other settings.
        member = {"task": name, "custom_dataset": lambda **_: dataset(), "dataset_kwargs": {}}
        wanted = {"group": "local", "task": [member]}
    (task,) = _loaded(name, lambda: manager.load([wanted]))["tasks"].values()
    return task


def _dataset(name: str, data: Path | None) -> Callable[[], Any] | None:
    """What gives the task's data from the user's directory; it is read at once, to find its faults."""
    if data is None:
        return None
    splits = read_splits(name, data)

    def dataset() -> Any:
        from datasets import Dataset, DatasetDict

        return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})

    return dataset


def _loaded(name: str, load: Callable[[], Any]) -> Any:
    """`load()`; what it raises is told with the task's name and the way around."""
    try:
        return load()
    except UsageError:
        raise
    except Exception as error:
        raise InfrastructureError(
            f"task {name!r} could not be loaded ({type(error).__name__}: {_first_line(error)}); without a network, "
            "give its data with --tasks-data DIR"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
