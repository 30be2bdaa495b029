"""Frameworks' warnings, kept out of verdicts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ignoring_warnings"]


@contextmanager
def ignoring_warnings() -> Iterator[None]:
    """A framework's deprecation must not decide about a model, whatever the project's filters are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
