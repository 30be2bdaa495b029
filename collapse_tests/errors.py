"""Exceptions by whose fault they are, so that a verdict never mixes them up."""

from __future__ import annotations

__all__ = ["CollapseError", "EditorError", "InfrastructureError", "RestorationError", "UsageError"]


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
