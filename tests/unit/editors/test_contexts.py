from __future__ import annotations

import json
from pathlib import Path

import pytest

from collapse_tests.editors.contexts import BARE_TEMPLATE, STARTS, context_templates, generate_templates
from collapse_tests.models.editable import EditableModel
from fixtures.tiny_models import make_model
from tests.unit.tiny import shared_model

LENGTHS = ((6, 10), (9, 5))


def test_templates_start_with_the_bare_one_and_hold_one_place(model: EditableModel) -> None:
    templates = generate_templates(model, LENGTHS, 0)
    assert len(templates) == 1 + 10 + 5
    assert templates[0] == BARE_TEMPLATE
    for template in templates[1:]:
        assert template.count("{") == template.count("}") == 1
        assert template.endswith(". {}")
        assert template.startswith(STARTS)


def test_templates_are_a_function_of_the_seed(model: EditableModel) -> None:
    assert generate_templates(model, LENGTHS, 3) == generate_templates(model, LENGTHS, 3)
    assert generate_templates(model, LENGTHS, 3) != generate_templates(model, LENGTHS, 4)


def test_templates_come_from_the_model() -> None:
    first, second = (generate_templates(make_model("llama", seed=seed), LENGTHS, 0) for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize("start_token", [False, True])
def test_texts_have_the_length_asked_for(start_token: bool) -> None:
    model = shared_model("llama", start_token=start_token)
    # "Because" and "Therefore" are several tokens here, and none is longer than the texts.
    assert {len(ids) for ids in _sampled(model)} == {12}


def _sampled(model: EditableModel) -> list[list[int]]:
    """Ids of the generated texts, seen where they are decoded."""
    seen: list[list[int]] = []
    original = type(model).decode

    def decode(self: EditableModel, ids: list[int]) -> str:
        seen.append(list(ids))
        return original(self, ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "decode", decode)
        generate_templates(model, ((12, 10),), 0)
    assert len(seen) == 10
    return seen


def test_without_texts_there_is_the_bare_template() -> None:
    assert generate_templates(shared_model("gpt2"), (), 0) == (BARE_TEMPLATE,)
    assert generate_templates(shared_model("gpt2"), ((5, 0),), 0) == (BARE_TEMPLATE,)


# The cache ----------------------------------------------------------------------------------------------------


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_templates_are_taken_from_the_cache(tmp_path: Path) -> None:
    model = shared_model("gpt2")
    templates = context_templates(model, LENGTHS, 0, tmp_path)
    assert templates == generate_templates(model, LENGTHS, 0)
    (file,) = files(tmp_path)
    assert context_templates(model, LENGTHS, 0, tmp_path) == templates
    data = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**data, "templates": ["{}", "Seen. {}"]}), encoding="utf-8")
    assert context_templates(model, LENGTHS, 0, tmp_path) == ("{}", "Seen. {}")


@pytest.mark.parametrize("damage", [b"", b'{"templates": ["{}", "Th', b"\xff\xfe\x00", b"[]", b'{"templates": null}'])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: bytes) -> None:
    model = shared_model("gpt2")
    templates = context_templates(model, LENGTHS, 0, tmp_path)
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage)
    assert context_templates(model, LENGTHS, 0, tmp_path) == templates
    assert file.read_bytes() == whole


def test_every_model_length_and_seed_has_a_file_of_its_own(tmp_path: Path) -> None:
    model, other = shared_model("gpt2"), make_model("gpt2", seed=1)
    for count, arguments in enumerate(((model, LENGTHS, 0), (model, LENGTHS, 1), (model, ((5, 5),), 0)), start=1):
        context_templates(*arguments, tmp_path)
        assert len(files(tmp_path)) == count
    assert context_templates(other, LENGTHS, 0, tmp_path) == generate_templates(other, LENGTHS, 0)
    assert len(files(tmp_path)) == 4


def test_an_equal_model_finds_the_file(tmp_path: Path) -> None:
    context_templates(shared_model("gpt2"), LENGTHS, 0, tmp_path)
    context_templates(make_model("gpt2"), LENGTHS, 0, tmp_path)
    assert len(files(tmp_path)) == 1


def test_without_a_cache_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    context_templates(shared_model("gpt2"), LENGTHS, 0, None)
    assert files(tmp_path) == []
