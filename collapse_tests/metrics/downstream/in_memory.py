"""Rows as a data set of the library that lm-eval reads, in memory and without a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["dataset_of"]


def dataset_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The data set of some rows, named by their content.

    The library would name it by pickling it with all of Arrow, which fails where packages are found by a path that is
    not the environment's own.
    """
    from datasets import Dataset
    from datasets.table import InMemoryTable

    content = json.dumps(rows, sort_keys=True, default=str, ensure_ascii=False)
    name = hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    return Dataset(InMemoryTable.from_pylist(list(rows)), fingerprint=name)
