from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors.in_place import InPlaceEditor
from collapse_tests.editors.protocol import Editor, JointEditor, PreparedEditor
from collapse_tests.editors.registry import check_editor, create_editor, editor_names
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Settings
from collapse_tests.weight_update import WeightUpdate

SETTINGS = Settings(("x",))


class Nothing:
    """An editor that edits nothing."""

    name = "nothing"

    def compute_updates(self, model: EditableModel, requests: Sequence[EditRequest]) -> list[WeightUpdate]:
        return [WeightUpdate({}) for _ in requests]


class Callable:
    """A class whose objects edit in place."""

    def __call__(self, model: Any, tokenizer: Any, request: EditRequest) -> None:
        return None


instance = Nothing()
number = 3


def in_place(model: Any, tokenizer: Any, request: EditRequest) -> None:
    """An in-place editor."""


def test_native_editors_have_names() -> None:
    assert {"rome", "c-rome", "r-rome"} <= set(editor_names())
    for name in editor_names():
        check_editor(name)


def test_an_unknown_name_gets_a_suggestion_and_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'crome' is not known: did you mean 'c-rome'") as caught:
        create_editor("crome", "any", SETTINGS)
    assert all(name in str(caught.value) for name in editor_names())
    with pytest.raises(UsageError, match="'zzz' is not known: Give one of"):
        check_editor("zzz")


def test_a_class_is_instantiated() -> None:
    editor = create_editor(f"{__name__}:Nothing", "any", SETTINGS)
    assert isinstance(editor, Nothing)
    assert editor is not instance


def test_an_instance_is_taken_as_it_is() -> None:
    assert create_editor(f"{__name__}:instance", "any", SETTINGS) is instance


@pytest.mark.parametrize("attribute", ["in_place", "Callable"])
def test_a_callable_edits_in_place(attribute: str) -> None:
    editor = create_editor(f"{__name__}:{attribute}", "any", SETTINGS)
    assert isinstance(editor, InPlaceEditor)
    assert editor.name == f"{__name__}:{attribute}"


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(UsageError, match=":number' is a int: neither an editor"):
        create_editor(f"{__name__}:number", "any", SETTINGS)


@pytest.mark.parametrize("name", ["no_such_module:x", "no_such.module:x", ":x", "sys:", "sys:a b", "sys:a.b", "..x:y"])
def test_names_that_cannot_be_imported_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"give package\.module:attribute"):
        check_editor(name)


def test_a_missing_attribute_is_named() -> None:
    with pytest.raises(UsageError, match=f"module '{__name__}' has no attribute 'nobody'"):
        create_editor(f"{__name__}:nobody", "any", SETTINGS)


def test_checking_a_name_does_not_import_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_editor.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    check_editor("heavy_editor:Editor")
    assert "heavy_editor" not in sys.modules


def test_a_module_that_lacks_an_import_of_its_own_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy_editor.py").write_text("import not_installed_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"importing 'needy_editor' failed: .*not_installed_anywhere"):
        create_editor("needy_editor:Editor", "any", SETTINGS)


def test_what_the_protocols_tell_apart() -> None:
    rome = create_editor("rome", "any", SETTINGS)
    assert isinstance(rome, Editor)
    assert isinstance(rome, PreparedEditor)
    assert not isinstance(rome, JointEditor)
    assert not isinstance(instance, PreparedEditor)
    assert not isinstance(in_place, Editor)
