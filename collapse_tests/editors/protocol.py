"""What an editor is: an algorithm that turns edit requests into weight updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from collapse_tests.edit_request import EditRequest
from collapse_tests.models.editable import EditableModel
from collapse_tests.weight_update import WeightUpdate

__all__ = [
    "RISK",
    "BoundedEditor",
    "Editor",
    "EditorContext",
    "JointEditor",
    "PreflightEditor",
    "PreparedEditor",
    "Progress",
    "no_progress",
]

#: Key of what `PreflightEditor.preflight` orders requests by.
RISK = "risk"

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, out of how much)."""


def no_progress(stage: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


@dataclass(frozen=True, slots=True)
class EditorContext:
    """What a run gives an editor besides the model.

    Attributes:
        seed: of everything random.
        cache: directory for one-off preparations, keyed by model digest and settings.
        progress: tells the user how far a long computation is.
    """

    seed: int = 0
    cache: Path | None = None
    progress: Progress = no_progress


@runtime_checkable
class Editor(Protocol):
    """An editing algorithm with its hyper-parameters.

    A batch is the native form and a single edit a batch of one. Nothing that depends on the model may live in a
    module global.
    """

    name: str

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> Sequence[WeightUpdate]:
        """One update per request, in order, each computed independently from the model's current weights.

        The model is left bit-exactly as found.
        """
        ...


@runtime_checkable
class JointEditor(Editor, Protocol):
    """An editor that can also write many facts in one update."""

    def compute_joint_update(self, model: EditableModel, requests: Sequence[EditRequest]) -> WeightUpdate:
        """One update that writes all requests together; the model is left bit-exactly as found."""
        ...


@runtime_checkable
class PreparedEditor(Editor, Protocol):
    """An editor with one-off work per model: context templates, covariances, a trained hypernetwork."""

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        """Do or load the one-off work for `model`; called once per model, before any `compute_updates`."""
        ...


@runtime_checkable
class BoundedEditor(Editor, Protocol):
    """An editor whose updates are large: a whole matrix each, where others have two vectors."""

    def requests_at_once(self, model: EditableModel) -> int:
        """Most requests whose updates should be held in memory together, 1 or more."""
        ...


@runtime_checkable
class PreflightEditor(Editor, Protocol):
    """An editor that can tell from the unedited model alone how dangerous an edit would be."""

    def preflight(self, model: EditableModel, requests: Sequence[EditRequest]) -> Sequence[Mapping[str, float]]:
        """Numbers known before editing, per request and in order, at a small part of the cost of an edit.

        They hold `RISK`: the larger, the likelier a collapse; NaN and inf count as the largest. The model is left
        bit-exactly as found.
        """
        ...
