"""Exceptions by whose fault they are, so that a verdict never mixes them up."""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "CollapseError",
    "EditorError",
    "ErrorKind",
    "InfrastructureError",
    "RestorationError",
    "UsageError",
    "first_line",
    "kind_of",
]


class ErrorKind(StrEnum):
    """Whose fault an error is, as records say it.

    `EDITOR`: it raised, or returned no update. `RESTORATION`: the weights did not come back. `USAGE`: the user's input,
    where that shows only with the model. `INFRASTRUCTURE`: everything else.
    """

    EDITOR = "editor"
    RESTORATION = "restoration"
    USAGE = "usage"
    INFRASTRUCTURE = "infrastructure"


class CollapseError(Exception):
    """Base of every exception this package raises on purpose; `str()` of it is fit to show to a user."""


class UsageError(CollapseError):
    """The user's input is wrong. The message names the thing, the value and the remedy."""


class InfrastructureError(CollapseError):
    """Something outside the gate failed: a download, a disk, a model that does not load."""


class EditorError(CollapseError):
    """An editor raised, or returned something that is no weight update."""


class RestorationError(EditorError):
    """An editor left the model changed.

    Args:
        editor: name of the editor.
        tensors: names of the parameters and buffers that differ from the unedited model.
    """

    def __init__(self, editor: str, tensors: list[str]) -> None:
        shown = ", ".join(tensors[:5]) + (f" and {len(tensors) - 5} more" if len(tensors) > 5 else "")
        super().__init__(f"editor {editor!r} left the model changed: {shown}")
        self.editor = editor
        self.tensors = tensors


def kind_of(error: Exception) -> ErrorKind:
    """Whose fault an exception is; what this package did not raise on purpose is nobody's but the infrastructure's."""
    kinds = {
        RestorationError: ErrorKind.RESTORATION,  # before the class it is one of
        EditorError: ErrorKind.EDITOR,
        UsageError: ErrorKind.USAGE,
    }
    return next((kind for cls, kind in kinds.items() if isinstance(error, cls)), ErrorKind.INFRASTRUCTURE)


def first_line(error: BaseException) -> str:
    """What an exception of another library says, as the end of a sentence; some say paragraphs, some nothing."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(". ") if text else type(error).__name__
