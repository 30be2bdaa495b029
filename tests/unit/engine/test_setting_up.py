from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from collapse_tests.cache import CACHE_VARIABLE
from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.protocol import EditorContext, no_progress
from collapse_tests.engine.setting_up import make_editor, prepare_for
from collapse_tests.errors import EditorError, InfrastructureError, UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Settings
from collapse_tests.weight_update import WeightUpdate
from tests.unit.tiny import shared_model

SETTINGS = Settings(("mine",), seed=7)


class Prepared:
    """Keeps what it is prepared with."""

    name = "prepared"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.context: EditorContext | None = None

    def prepare(self, model: EditableModel, context: EditorContext) -> None:
        self.context = context
        if self.error is not None:
            raise self.error

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return [WeightUpdate({}) for _ in requests]


class Unmade(Prepared):
    """Cannot be made."""

    def __init__(self) -> None:
        raise KeyError("nothing there")


def test_an_editor_that_cannot_be_made_is_to_blame() -> None:
    with pytest.raises(EditorError, match="Unmade raised KeyError: 'nothing there'"):
        make_editor(f"{__name__}:Unmade", "any", SETTINGS)


def test_a_name_that_is_no_editor_stays_the_users_error() -> None:
    with pytest.raises(UsageError, match="is not known"):
        make_editor("crome", "any", SETTINGS)


def test_preparation_is_given_the_seed_and_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    editor = Prepared()
    prepare_for(shared_model("gpt2"), editor, "mine", SETTINGS, no_progress)
    assert editor.context == EditorContext(7, tmp_path, no_progress)


def test_a_preparation_that_raises_is_to_blame_unless_on_purpose() -> None:
    with pytest.raises(EditorError, match="mine raised ValueError: no"):
        prepare_for(shared_model("gpt2"), Prepared(ValueError("no")), "mine", SETTINGS, no_progress)
    with pytest.raises(InfrastructureError, match="disk full"):
        prepare_for(shared_model("gpt2"), Prepared(InfrastructureError("disk full")), "mine", SETTINGS, no_progress)
