"""The loader that the task files beside this module name: rows from JSONL, without a cache and without a network."""

from __future__ import annotations

import json
from pathlib import Path

from datasets import DatasetDict

from collapse_tests.metrics.downstream.in_memory import dataset_of

__all__ = ["load"]


def load(file: str, **_: object) -> DatasetDict:
    """The items of `file` as the one split `test`.

    lm-eval calls this with a task's `dataset_kwargs` and, mixed into them, its `metadata`, which is not used.

    Args:
        file: name of a JSONL file beside this module.
    """
    lines = (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines()
    return DatasetDict(test=dataset_of([json.loads(line) for line in lines]))
