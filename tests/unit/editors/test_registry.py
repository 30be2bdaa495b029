from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from collapse_tests.edit_request import EditRequest
from collapse_tests.editors import registry
from collapse_tests.editors.hparams import Hyperparameters
from collapse_tests.editors.in_place import InPlaceEditor
from collapse_tests.editors.protocol import Editor, JointEditor, PreparedEditor
from collapse_tests.editors.registry import check_editor, check_hyperparameters, create_editor, editor_names
from collapse_tests.errors import UsageError
from collapse_tests.models.editable import EditableModel
from collapse_tests.settings import Override, Settings
from collapse_tests.weight_update import WeightUpdate
from tests.unit.tiny import shared_model

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


# Options of own editors -----------------------------------------------------------------------------------


class Fancy(Nothing):
    """An editor with options."""

    class Hyperparameters(Hyperparameters):
        """Its options."""

        steps: int = 3

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self.hyperparameters = hyperparameters


class FancyCallable:
    """Edits in place, with options of pydantic's own kind."""

    class Hyperparameters(BaseModel):
        """Its options."""

        steps: int = 3

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        seen.append(hyperparameters.steps)

    def __call__(self, model: Any, tokenizer: Any, request: EditRequest) -> None:
        seen.append(request.subject)


class Unmakeable(Nothing):
    """Needs what nobody gives it."""

    def __init__(self, path: str) -> None:
        self.path = path


class NoSchema(Nothing):
    """Declares its options as something else."""

    Hyperparameters = 3


seen: list[object] = []


def configured(model: Any, tokenizer: Any, request: EditRequest, config: Mapping[str, Any]) -> None:
    """An in-place editor with options."""
    seen.append(dict(config))
    if isinstance(config, dict):
        config["left"] = "by an earlier edit"


def with_default(model: Any, tokenizer: Any, request: EditRequest, config: object = "default") -> None:
    """An in-place editor with options that need not be given."""
    seen.append(config)


def given(attribute: str, **fields: object) -> Settings:
    name = f"{__name__}:{attribute}"
    return Settings((name,), overrides=tuple(Override(name, field, value) for field, value in fields.items()))


def made(attribute: str, **fields: object) -> Editor:
    settings = given(attribute, **fields)
    check_hyperparameters(settings)
    return create_editor(settings.editors[0], "any", settings)


def saw(editor: Editor) -> list[object]:
    editor.compute_updates(shared_model("gpt2"), [EditRequest("Oslo is in", "Oslo", "Peru")] * 2)
    found = seen.copy()
    seen.clear()
    return found


def test_a_class_with_hyperparameters_is_made_with_them() -> None:
    editor = made("Fancy", steps=5)
    assert isinstance(editor, Fancy)
    assert editor.hyperparameters == Fancy.Hyperparameters(steps=5)
    editor = made("Fancy")
    assert isinstance(editor, Fancy)
    assert editor.hyperparameters == Fancy.Hyperparameters()


def test_a_class_that_edits_in_place_has_options_too() -> None:
    assert saw(made("FancyCallable", steps=5)) == [5, "Oslo", "Oslo"]


def test_a_function_gets_its_own_copy_of_the_options_in_each_call() -> None:
    assert saw(made("configured", steps=5, names=["a"])) == [{"steps": 5, "names": ["a"]}] * 2
    assert saw(made("configured")) == [{}] * 2
    assert saw(made("with_default")) == ["default"] * 2
    assert saw(made("with_default", steps=5)) == [{"steps": 5}] * 2


@pytest.mark.parametrize("attribute", ["Fancy", "FancyCallable"])
@pytest.mark.parametrize(("field", "value"), [("stepz", 5), ("steps", "many")])
def test_options_are_checked_before_anything_is_made(attribute: str, field: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"^--set {__name__}:{attribute}\.{field}"):
        check_hyperparameters(given(attribute, **{field: value}))
    assert seen == []


@pytest.mark.parametrize("attribute", ["Nothing", "instance", "in_place", "number"])
def test_an_editor_without_options_is_given_none(attribute: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_hyperparameters(given(attribute, steps=5))
    assert str(caught.value) == (
        f"--set {__name__}:{attribute}.steps: {__name__}:{attribute} has no hyper-parameters; leave it out, or declare "
        "a pydantic model as the attribute `Hyperparameters` of a class, which is then made with one, or give a "
        "function a parameter `config`"
    )


def test_a_class_whose_objects_take_no_options_is_given_none() -> None:
    settings = given("Callable", steps=5)
    with pytest.raises(UsageError, match="has no hyper-parameters; leave it out"):
        create_editor(settings.editors[0], "any", settings)


def test_a_class_that_cannot_be_made_says_how_it_could() -> None:
    with pytest.raises(UsageError, match=r"a Unmakeable cannot be made without arguments: missing .*'path'; declare"):
        made("Unmakeable")


def test_hyperparameters_of_another_kind_are_refused() -> None:
    with pytest.raises(UsageError, match=r"attribute Hyperparameters is no pydantic model; derive it from"):
        made("NoSchema")


@pytest.mark.parametrize(("name", "field"), [("rome", "stepz"), ("r-rome", "stepz")])
def test_options_of_native_editors_are_checked_too(name: str, field: str) -> None:
    settings = Settings((name,), ("gpt2-xl", "any"), overrides=(Override(name, field, 1),))
    with pytest.raises(UsageError, match=rf"^--set {name}\.{field}: {name} has no such field"):
        check_hyperparameters(settings)


def test_an_installed_editor_has_options_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("lab-fancy", f"{__name__}:Fancy", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **selection: EntryPoints([entry]).select(**selection))
    settings = Settings(("lab-fancy",), overrides=(Override("lab-fancy", "steps", 9),))
    check_hyperparameters(settings)
    editor = create_editor("lab-fancy", "any", settings)
    assert isinstance(editor, Fancy)
    assert editor.hyperparameters == Fancy.Hyperparameters(steps=9)
    with pytest.raises(UsageError, match=r"^--set lab-fancy\.stepz: lab-fancy has no such field; it has steps$"):
        check_hyperparameters(Settings(("lab-fancy",), overrides=(Override("lab-fancy", "stepz", 9),)))


def test_a_module_that_fails_when_it_is_imported_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_editor.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="importing 'failing_editor' raised ZeroDivisionError: division by zero"):
        create_editor("failing_editor:Editor", "any", SETTINGS)
