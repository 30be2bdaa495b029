"""The subject repository: what is read, and what is refused with file, category and subject named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from collapse_tests.errors import UsageError
from collapse_tests.hard_edits.subject_files import load_subjects, parse_subjects
from collapse_tests.hard_edits.subjects import Fact
from tests.unit.hard_edits.repositories import SMALL, document, repository


def test_facts_come_category_by_category() -> None:
    facts = repository().facts()
    assert len(facts) == 19
    assert facts[0] == Fact("countries", "capital", "Norway", "Oslo")
    assert facts[-1] == Fact("days", "next", "Friday", "Saturday")


def test_values_are_distinct_regardless_of_case() -> None:
    text = SMALL.replace("currency: krona", "currency: Krone")
    assert parse_subjects(text, "x").categories[0].values("currency") == ["krone", "yen", "zloty", "dollar"]


def test_a_file_of_the_user_is_read(tmp_path: Path) -> None:
    file = tmp_path / "own.yml"
    file.write_text(SMALL, encoding="utf-8")
    assert load_subjects(str(file)) == repository()


def _category(change: Callable[[dict[str, Any]], object]) -> str:
    data = document()
    change(data["categories"][0])
    return yaml.safe_dump(data)


def _relation(**fields: object) -> str:
    return _category(lambda one: one["relations"]["symbol"].update(fields))


def _again(name: str, *subjects: str) -> str:
    data = document()
    other = {**data["categories"][0], "name": name, "subjects": {one: {"symbol": one[:2]} for one in subjects}}
    return yaml.safe_dump({"categories": [*data["categories"], other]})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (_again("other", "Gold", "Lead"), ["category 'other', subject 'Gold'", "category 'metals' already"]),
        (_again("other", "gold", "Lead"), ["category 'other', subject 'gold'", "category 'metals' already"]),
        (_again("Metals", "Lead", "Zinc"), ["category 'Metals'", "another of this name"]),
        (_category(lambda one: one["subjects"].update(IRON={"symbol": "Ni"})), ["subject 'Iron'", "already"]),
        (
            _relation(prompt="The symbol of {} is"),
            ["category 'metals', relation 'symbol', field 'prompt'", "put {} first"],
        ),
        (_relation(prompt="{} and {} are"), ["field 'prompt'", "2 places", "exactly once"]),
        (_relation(prompt="A metal has"), ["field 'prompt'", "0 places"]),
        (_relation(prompt="{} has {the} symbol"), ["field 'prompt'", "stray brace"]),
        (_relation(prompt="{}"), ["field 'prompt'", "says nothing"]),
        (_relation(prompt="{} has the symbol "), ["field 'prompt'", "white space"]),
        (_relation(prompt="{} is heavier than Iron, or"), ["subject 'Iron'", "more than once", "relation 'symbol'"]),
        (_relation(rephrase="Chemists write"), ["field 'rephrase'", "0 places"]),
        (_relation(rephrase=7), ["field 'rephrase'", "7 is not text", "in quotes"]),
        (_relation(other="{} x"), ["field 'other'", "no such field"]),
        (_category(lambda one: one["relations"]["symbol"].pop("rephrase")), ["field 'rephrase'", "missing"]),
        (_category(lambda one: one["subjects"].update(Iron={"symbol": "au"})), ["'metals'", "'symbol'", "distinct"]),
        (
            _category(lambda one: one["subjects"].update(Lead={"colour": "grey"})),
            ["category 'metals'", "subject 'Lead'", "unknown relation 'colour'", "has symbol"],
        ),
        (
            _category(lambda one: one["subjects"].update(Lead={"symbol": False})),
            ["category 'metals', subject 'Lead', relation 'symbol'", "False is not text"],
        ),
        (_category(lambda one: one["subjects"].update(Lead={"symbol": ["Pb"]})), ["subject 'Lead'", "not text"]),
        (_category(lambda one: one["subjects"].update(Lead={"symbol": " "})), ["subject 'Lead'", "empty"]),
        (_category(lambda one: one["subjects"].update(Lead={})), ["subject 'Lead'", "at least one"]),
        (_category(lambda one: one["subjects"].update(Lead="Pb")), ["subject 'Lead'", "no mapping"]),
        (_category(lambda one: one["subjects"].update({True: {"symbol": "x"}})), ["a subject: True is not text"]),
        (_category(lambda one: one["subjects"].update({"L{}": {"symbol": "x"}})), ["a subject: 'L{}' holds a brace"]),
        (_category(lambda one: one.pop("name")), ["category number 1", "'name'", "missing"]),
        (_category(lambda one: one.update(subjects={})), ["category 'metals'", "'subjects'", "at least one"]),
        ("categories: []", ["'categories'", "at least one"]),
        ("categories: 3", ["'categories'", "no list"]),
        ("categories: [metals]", ["category number 1", "no mapping"]),
        ("subjects: {}", ["'categories'", "missing", "1 further entry is wrong too"]),
        ("- Gold", ["holds no mapping"]),
        ("", ["holds no mapping"]),
        ("categories: [", ["not YAML", "line 1"]),
        ("categories: \0", ["not YAML"]),
        (SMALL.replace("      Iron:", "      Gold:"), ["not YAML", "'Gold' is there twice", "line 21"]),
        ('categories:\n  - name: "\\ud800"', ["'name'", "half a surrogate pair"]),
    ],
)
def test_what_is_wrong_is_named(text: str, parts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_subjects(str(file))
    message = str(caught.value)
    assert f"--subjects {str(file)!r}" in message
    for part in parts:
        assert part in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no file"):
        load_subjects(str(tmp_path / "absent.yaml"))
    with pytest.raises(UsageError, match="is a directory"):
        load_subjects(str(tmp_path))
    (tmp_path / "own.txt").write_text(SMALL, encoding="utf-8")
    with pytest.raises(UsageError, match=r"ending in \.yaml or \.yml"):
        load_subjects(str(tmp_path / "own.txt"))
