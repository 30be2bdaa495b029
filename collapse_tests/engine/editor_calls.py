"""What comes out of an editor: updates that are checked, and errors whose text is fit to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collapse_tests.errors import CollapseError, EditorError, InfrastructureError
from collapse_tests.models.memory import is_out_of_memory
from collapse_tests.weight_update import WeightUpdate

__all__ = ["explained", "one_update_each"]


def one_update_each(updates: Sequence[Any], requests: int) -> list[WeightUpdate]:
    """What `compute_updates` returned for so many requests.

    Raises:
        EditorError: it is something else than a weight update for each.
    """
    if len(updates) != requests or not all(isinstance(update, WeightUpdate) for update in updates):
        raise EditorError(
            f"compute_updates returned {len(updates)} values for {requests} requests; "
            "it has to return one WeightUpdate for each"
        )
    return list(updates)


def explained(who: str, error: Exception, kind: type[CollapseError] = EditorError) -> CollapseError:
    """The error as one of the package's: itself, or one of `kind` that says what `who` ran into.

    Too little memory for a single edit is the device's fault, whoever asked for the memory.
    """
    if isinstance(error, CollapseError):
        return error
    if is_out_of_memory(error):
        return InfrastructureError(
            f"{who} ran out of memory with a single edit; use a larger device or a smaller --dtype"
        )
    return kind(f"{who} raised {type(error).__name__}: {error}")
