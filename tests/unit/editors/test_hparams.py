from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from collapse_tests.editors.hparams import validated
from collapse_tests.editors.registry import create_editor
from collapse_tests.editors.rome import Rome
from collapse_tests.errors import UsageError
from collapse_tests.settings import Override, Settings


def create(editor: str, model: str = "any", /, **overrides: Any) -> Rome:
    given = tuple(Override(editor, field, value) for field, value in overrides.items())
    found = create_editor(editor, model, Settings((editor,), overrides=given))
    assert isinstance(found, Rome)
    return found


def test_the_three_methods_differ_in_their_keys() -> None:
    found = {name: create(name) for name in ("rome", "c-rome", "r-rome")}
    assert {name: editor.hyperparameters.keys for name, editor in found.items()} == {
        "rome": "mixed",
        "c-rome": "prefixed",
        "r-rome": "prefixed",
    }
    assert [editor.name for editor in found.values()] == list(found)
    assert create("r-rome", keys="prompt").hyperparameters.keys == "prompt"


@pytest.mark.parametrize(
    ("model", "block", "steps"),
    [("gpt2-xl", 17, 20), ("gpt-j-6b", 5, 20), ("llama2-7b", 5, 25), ("any", None, 20), ("../rome/gpt2-xl", None, 20)],
)
def test_known_models_have_hyperparameters_of_their_own(model: str, block: int | None, steps: int) -> None:
    fields = create("rome", model).hyperparameters
    assert (fields.block, fields.steps) == (block, steps)


def test_overrides_win_and_the_last_one_counts() -> None:
    overrides = (Override("rome", "steps", 3), Override("c-rome", "steps", 4), Override("rome", "steps", 5))
    editor = create_editor("rome", "gpt2-xl", Settings(("rome",), overrides=overrides))
    assert isinstance(editor, Rome)
    assert editor.hyperparameters.steps == 5
    assert editor.hyperparameters.block == 17


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"--set c-rome\.stepz: c-rome has no such field; it has .*steps"):
        create("c-rome", stepz=3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", "many"),
        ("steps", 0),
        ("steps", 1.5),
        ("block", -1),
        ("block", "last"),
        ("learning_rate", 0),
        ("clamp_norm_factor", -1),
        ("kl_factor", None),
        ("keys", "both"),
        ("context_lengths", 5),
        ("context_lengths", [[5]]),
        ("second_moment", 5),
    ],
)
def test_a_value_the_field_cannot_have_is_refused(field: str, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        create("rome", **{field: value})
    assert str(caught.value).startswith(f"--set rome.{field}={value}: ")
    assert "\n" not in str(caught.value)


def test_hyperparameters_are_immutable() -> None:
    fields = create("rome").hyperparameters
    with pytest.raises(ValueError, match="frozen"):
        fields.steps = 3


FILE = "--editor-config fancy.yaml"


def test_an_error_names_the_file_a_field_came_from() -> None:
    with pytest.raises(UsageError) as caught:
        create_editor("rome", "any", Settings(("rome",), overrides=(Override("rome", "stepz", 3, FILE),)))
    assert str(caught.value).startswith("--editor-config fancy.yaml: rome.stepz: rome has no such field; it has block,")
    with pytest.raises(UsageError) as caught:
        create_editor("rome", "any", Settings(("rome",), overrides=(Override("rome", "steps", "many", FILE),)))
    assert str(caught.value).startswith("--editor-config fancy.yaml: rome.steps: 'many': Input should be a valid int")


class Lenient(BaseModel):
    """A model that pydantic lets anything pass into."""

    steps: int
    rate: float = 0.5

    @model_validator(mode="after")
    def together(self) -> Lenient:
        if self.steps * self.rate > 100:
            raise ValueError("steps times rate is above 100")
        return self


def test_a_misspelt_field_is_refused_whatever_the_schema_says() -> None:
    with pytest.raises(UsageError, match=r"^--set own\.stepz: own has no such field; it has steps, rate$"):
        validated(Lenient, "own", {"steps": 1}, (Override("own", "stepz", 3),))


def test_a_field_that_allows_extras_takes_them() -> None:
    class Open(BaseModel, extra="allow"):
        """Takes anything."""

    assert validated(Open, "own", {}, (Override("own", "anything", 3),)).model_dump() == {"anything": 3}


def test_a_field_without_a_value_says_how_to_give_one() -> None:
    with pytest.raises(UsageError, match=r"^own\.steps has no value; give one with --set own\.steps=VALUE or"):
        validated(Lenient, "own", {})


def test_a_fault_of_several_fields_together_is_told() -> None:
    with pytest.raises(UsageError, match=r"^own: Value error, steps times rate is above 100$"):
        validated(Lenient, "own", {"steps": 1000})
