"""Expansion of settings into cases, and their ids."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from collapse_tests.cases import Case, expand_cases, group_key, label
from collapse_tests.datasets.requests import load_requests
from collapse_tests.edit_request import EditRequest
from collapse_tests.settings import Settings

REQUEST = EditRequest("Oslo is in", "Oslo", "Peru")


def write_facts(path: Path, *targets: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps([{"prompt": "Oslo is in", "subject": "Oslo", "target_new": target} for target in targets])
    )
    return str(path)


def ids(settings: Settings) -> list[str]:
    return [case.id for case in expand_cases(settings)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smollm2-135m", "smollm2-135m"),
        ("openai-community/gpt2-xl", "gpt2-xl"),
        ("/models/My model (v2)/", "My_model__v2_"),
        ("~/models/tiny", "tiny"),
        ("..\\models\\tiny", "tiny"),
        ("package.module:my_editor", "my_editor"),
        ("path/to/module.py:Class.method", "Class.method"),
        ("modèle~2", "mod_le_2"),
        ("a::b[c]", "b_c_"),
    ],
)
def test_labels_are_short_and_safe(name: str, expected: str) -> None:
    assert label(name) == expected


def test_the_label_of_a_relative_directory_is_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "tiny" / "sub")

    assert [label("."), label(".."), label("./")] == ["sub", "tiny", "sub"]


def test_a_case_knows_its_id_and_group() -> None:
    case = Case("org/smollm2-135m", "pack.age:c-rome", "hard:0007", REQUEST)

    assert case.id == "smollm2-135m-c-rome-hard:0007"
    assert group_key(case.id) == case.group == "smollm2-135m-c-rome"


def test_models_enclose_editors_enclose_requests(tmp_path: Path) -> None:
    facts = write_facts(tmp_path / "my-facts.json", "Peru", "Chad")

    cases = expand_cases(Settings(editors=("rome", "r-rome"), models=("gpt2-xl", "llama2-7b"), edits=(facts,)))

    assert [case.id for case in cases] == [
        f"{model}-{editor}-my_facts:{index:04d}"
        for model in ("gpt2-xl", "llama2-7b")
        for editor in ("rome", "r-rome")
        for index in (0, 1)
    ]
    assert [case.request.target_new for case in cases] == ["Peru", "Chad"] * 4
    assert (cases[-1].model, cases[-1].editor, cases[-1].edit_id) == ("llama2-7b", "r-rome", "my_facts:0001")


def test_limit_and_sample_apply_to_each_set() -> None:
    settings = Settings(editors=("rome",), edits=("hard", "normal"), edits_limit=2, edits_sample=5, seed=9)

    expected = [
        f"smollm2-135m-rome-{named.edit_id}"
        for source in settings.edits
        for named in load_requests(source, limit=2, sample=5, seed=9)
    ]
    assert ids(settings) == expected
    assert len(expected) == 4


def test_a_request_asked_for_twice_is_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_facts(tmp_path / "facts.json", "Peru")
    monkeypatch.chdir(tmp_path)

    names = ids(Settings(editors=("rome",), edits=("smoke", "hard", "facts.json", "./facts.json")))

    assert len(names) == len(set(names)) == len(load_requests("hard")) + 8 + 1
    assert "smollm2-135m-rome-facts:0000" in names


def test_files_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    first = write_facts(tmp_path / "a" / "facts.json", "Peru", "Chad")
    second = write_facts(tmp_path / "b" / "facts.jsonl.json", "Mali")
    third = write_facts(tmp_path / "c" / "facts.json", "Cuba", "Fiji", "Iran")
    mine = write_facts(tmp_path / "normal.json", "Laos")

    settings = Settings(editors=("rome",), edits=(first, second, third, mine, "normal"), edits_limit=2)
    cases = {case.edit_id: case.request.target_new for case in expand_cases(settings)}

    assert list(cases)[:6] == [
        *("facts:0000", "facts:0001", "facts.jsonl:0000", "facts~2:0000", "facts~2:0001", "normal~2:0000"),
    ]
    assert [cases["facts~2:0001"], cases["normal~2:0000"]] == ["Fiji", "Laos"]
    assert cases["normal:0000"] == load_requests("normal")[0].request.target_new


def test_a_file_may_bear_the_name_of_a_shipped_set(tmp_path: Path) -> None:
    facts = write_facts(tmp_path / "hard.json", "Peru")

    assert ids(Settings(editors=("rome",), edits=(facts,))) == ["smollm2-135m-rome-hard:0000"]


def test_models_and_editors_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    facts = write_facts(tmp_path / "facts.json", "Peru")

    names = ids(Settings(editors=("a:edit", "b:edit"), models=("x/tiny", "y/tiny", "z/tiny"), edits=(facts,)))

    groups = ["tiny", "tiny~2", "tiny~3"]
    assert names == [f"{group}-{editor}-facts:0000" for group in groups for editor in ("edit", "edit~2")]


def test_names_that_join_to_the_same_text_stay_apart(tmp_path: Path) -> None:
    facts = write_facts(tmp_path / "facts.json", "Peru")

    names = ids(Settings(editors=("rome", "c-rome"), models=("x/m", "x/m-c"), edits=(facts,)))

    assert names == [
        *("m-rome-facts:0000", "m-c-rome-facts:0000", "m-c-rome~2-facts:0000", "m-c-c-rome-facts:0000"),
    ]


def test_every_id_is_safe_and_splits_back(tmp_path: Path) -> None:
    facts = write_facts(tmp_path / "a-b c[d]::é.json", "Peru")

    for case in expand_cases(Settings(editors=("p:e-d",), models=("o/m-1", f"{tmp_path}/m-1"), edits=(facts, "hard"))):
        assert re.fullmatch(r"[A-Za-z0-9_.~:-]+", case.id)
        assert group_key(case.id) == case.group
        assert f"{case.group}-{case.edit_id}" == case.id
