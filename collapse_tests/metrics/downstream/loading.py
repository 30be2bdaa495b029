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
from collapse_tests.metrics.downstream.in_memory import dataset_of
from collapse_tests.metrics.downstream.local_data import Rows, read_splits
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
            return LoadedTask(task.name, (_squad(local),))
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
    children = _children(manager, manager.task_index[name].cfg or {})
    if children is None:  # defined within the group, so that only loading it tells
        return list(_loaded(name, lambda: manager.load([name]), None)["tasks"])
    return list(dict.fromkeys(leaf for child in children for leaf in _leaves(manager, child, task)))


def _children(manager: Any, group: dict[str, Any]) -> list[str] | None:
    """Names of what a group's definition lists, or None where one is no name in lm-eval's index."""
    listed = group.get("task")
    if not isinstance(listed, list):
        return None
    found: list[str] = []
    for entry in listed:
        name = entry.get("group", entry.get("task")) if isinstance(entry, dict) else entry
        if not isinstance(name, str) or name not in manager.task_index:
            return None
        found.append(name)
    return found


def _squad(data: Path | None) -> Any:
    rows = None if data is None else read_splits("squadv2", data)
    dataset = None if rows is None else _dataset("squadv2", rows, {"validation_split": "validation"})
    return _loaded("squadv2", lambda: answerable_squad(dataset), data)


def _part(manager: Any, name: str, data: Path | None) -> Any:
    wanted: Any = name
    rows = None if data is None else read_splits(name, data)
    if rows is not None:
        dataset = _dataset(name, rows, manager.task_index[name].cfg or {})
        # Only as a member of a group does lm-eval take a task of its own with other settings.
        member = {"task": name, "custom_dataset": lambda **_: dataset(), "dataset_kwargs": {}}
        wanted = {"group": "local", "task": [member]}
    (task,) = _loaded(name, lambda: manager.load([wanted]), data)["tasks"].values()
    if rows is not None:
        _check_examples(task, name, rows)
    return task


def _dataset(name: str, rows: dict[str, Rows], config: dict[str, Any]) -> Callable[[], Any]:
    """What gives the user's rows as a data set with every split that a task's definition names.

    Splits without rows are empty but for the one that is evaluated: lm-eval looks at them even where no examples are
    asked for.

    Raises:
        UsageError: there are only rows that the task does not evaluate.
    """
    any_rows = next(iter(rows.values()))
    evaluated = config.get("test_split") or config.get("validation_split")
    if evaluated and not {evaluated, "test"} & rows.keys():
        raise UsageError(f"--tasks-data has no items to ask {name!r} about; put {name}_{evaluated}.jsonl there")
    given = {evaluated: rows.get("test", []), **rows} if evaluated else rows
    named = [str(config[key]) for key in ("training_split", "validation_split", "fewshot_split") if config.get(key)]

    def dataset() -> Any:
        from datasets import DatasetDict

        empty = dataset_of(any_rows).select([])
        full = {split: dataset_of(items) for split, items in given.items()}
        return DatasetDict({**dict.fromkeys(("train", "dev", *named), empty), **full})

    return dataset


def _check_examples(task: Any, name: str, rows: dict[str, Rows]) -> None:
    """Refuses few-shot examples from the items that are asked about."""
    config = task.config
    given = (config.fewshot_config is not None) and task.fewshot_cfg.samples is not None
    named = task.fewshot_cfg.split
    if not config.num_fewshot or (given and named is None):
        return
    evaluated = config.test_split or config.validation_split
    split = named or config.training_split or config.validation_split or evaluated
    # Where a task draws examples from the very split it evaluates, lm-eval leaves out the item that is asked about.
    if split == evaluated or (split in rows and rows[split] is not rows.get(evaluated)):
        return
    raise UsageError(
        f"--tasks-data: {name!r} shows {config.num_fewshot} examples from the split {split!r}, which has no file of "
        f"its own; put {name}_{split}.jsonl beside {name}_{evaluated}.jsonl"
    )


def _loaded(name: str, load: Callable[[], Any], data: Path | None) -> Any:
    """`load()`; what it raises is told with the task's name and the way around."""
    try:
        return load()
    except UsageError:
        raise
    except ImportError as error:
        raise InfrastructureError(
            f"task {name!r} could not be loaded ({_first_line(error)}); install what it needs, or leave it out"
        ) from error
    except Exception as error:
        remedy = (
            "without a network, give its data with --tasks-data DIR"
            if data is None
            else f"see that its files in {str(data)!r} have the columns of the published data set"
        )
        raise InfrastructureError(
            f"task {name!r} could not be loaded ({type(error).__name__}: {_first_line(error)}); {remedy}"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
