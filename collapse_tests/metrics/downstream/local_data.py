"""A task's items from a directory of the user's, in the layouts in which the data sets are published."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from collapse_tests.errors import UsageError

__all__ = ["Rows", "read_splits"]

Rows = list[dict[str, Any]]

#: Splits that a task definition may ask for.
_SPLITS = ("train", "validation", "test", "dev")

#: Those that a task evaluates on.
_EVALUATED = ("test", "validation")

#: What else a task's files are called.
_ALIASES = {"squadv2": ("squad_v2",), "lambada_standard": ("lambada",), "lambada_openai": ("lambada",)}


def read_splits(task: str, folder: Path) -> dict[str, Rows]:
    """Rows of `task` by split; a file without a split in its name stands for `test` and `validation`.

    It does not for the splits that few-shot prompts draw from, which would show the answers. Splits of the same file
    share one list.

    Looked for are `TASK.jsonl`, `.json` and `.csv`, and `TASK_SPLIT` likewise, in the folder and those below it; for a
    subject of MMLU also under the subject's name. Lines of JSON and lists are taken as they are, SQuAD's nesting and
    MMLU's columns `choice0`, … are undone, and `TASK_SPLIT_labels.lst` adds a column `label`, as PIQA has it.

    Raises:
        UsageError: there is no such file, or one cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"--tasks-data {str(folder)!r} is no directory; give the one that holds the tasks' files")
    files = {split: _find(task, f"_{split}", folder) for split in _SPLITS}
    whole = _find(task, "", folder)
    # One set of items serves whichever of the two the task evaluates on.
    fallback = whole or next((path for path in (files["test"], files["validation"], files["dev"]) if path), None)
    found = {split: path or (fallback if split in _EVALUATED else None) for split, path in files.items()}
    rows = {path: _read(path) for path in found.values() if path is not None}
    if not rows:
        raise UsageError(
            f"--tasks-data {str(folder)!r} has no file of the task {task!r}; put {task}.jsonl there, with one item a "
            "line in the columns of the published data set"
        )
    return {split: rows[path] for split, path in found.items() if path is not None}


def _find(task: str, suffix: str, folder: Path) -> Path | None:
    stems = [task, *_ALIASES.get(task, ()), *([task.removeprefix("mmlu_")] if task.startswith("mmlu_") else [])]
    for stem in stems:
        for extension in ("jsonl", "json", "csv"):
            matches = sorted(folder.rglob(f"{stem}{suffix}.{extension}"))
            if matches:
                return matches[0]
    return None


def _read(path: Path) -> Rows:
    try:
        rows = list(_rows(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--tasks-data: {path} cannot be read ({error!r}); give it as it was published") from error
    labels = path.with_name(f"{path.stem}_labels.lst")
    if labels.exists():
        given = labels.read_text(encoding="utf-8").split()
        if len(given) != len(rows):
            raise UsageError(f"--tasks-data: {labels} has {len(given)} labels for the {len(rows)} items of {path}")
        rows = [{**row, "label": int(label)} for row, label in zip(rows, given, strict=True)]
    if not rows:
        raise UsageError(f"--tasks-data: {path} holds no item")
    return rows


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".jsonl":
            yield from (json.loads(line) for line in file if line.strip())
        elif path.suffix == ".csv":
            yield from map(_from_columns, csv.DictReader(file))
        else:
            content = json.load(file)
            yield from _from_squad(content) if isinstance(content, dict) else content


def _from_columns(row: dict[str, Any]) -> dict[str, Any]:
    choices = [name for name in row if name.startswith("choice")]
    if not choices:
        return row
    kept = {name: value for name, value in row.items() if name not in choices}
    return {**kept, "choices": [row[name] for name in sorted(choices)], "answer": int(row["answer"])}


def _from_squad(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = [answer["text"] for answer in question["answers"]]
                yield {
                    "id": question["id"],
                    "title": article["title"],
                    "context": paragraph["context"],
                    "question": question["question"],
                    "answers": {"text": answers},
                }
