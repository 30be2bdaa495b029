"""Errors about one option, said about another: what reads a value need not know every option that takes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from collapse_tests.errors import InfrastructureError, UsageError

__all__ = ["renamed"]


@contextmanager
def renamed(option: str, given: str) -> Iterator[None]:
    """Errors of the `with` block name the option `given` where they named `option`."""
    try:
        yield
    except UsageError as error:
        raise UsageError(str(error).replace(option, given)) from error.__cause__
    except InfrastructureError as error:
        raise InfrastructureError(str(error).replace(option, given)) from error.__cause__
