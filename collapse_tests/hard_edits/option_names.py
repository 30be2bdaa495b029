"""Errors about one option, said about another: what reads a value need not know every option that takes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from collapse_tests.errors import InfrastructureError, UsageError

__all__ = ["renamed"]


@contextmanager
def renamed(option: str, given: str) -> Iterator[None]:
    """Errors of the `with` block name the option `given` where they named `option`."""
    name = re.compile(rf"(?<![\w-]){re.escape(option)}(?![\w-])")
    try:
        yield
    except (UsageError, InfrastructureError) as error:
        raise type(error)(name.sub(given, str(error))) from error.__cause__
