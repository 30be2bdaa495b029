"""Sentences for perplexity: kept to the letter, refused when unusable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collapse_tests.datasets.texts import load_texts
from collapse_tests.errors import UsageError


def test_the_default_sentences_ship_with_the_package() -> None:
    texts = load_texts("default")

    assert len(texts) == len(set(texts)) > 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.json", json.dumps([{"Corpus": "web", "Text": " One  two "}, {"Text": "Three\u2028four"}])),
        ("t.json", json.dumps([" One  two ", "Three\u2028four"])),
        ("t.txt", " One  two \nThree\u2028four\n"),
        ("t.TXT", "\ufeff One  two \r\nThree\u2028four\r\n\r\n"),
    ],
)
def test_texts_are_verbatim(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())

    assert load_texts(str(path)) == (" One  two ", "Three\u2028four")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.md", "text", "unknown suffix; give a file ending in .json or .txt"),
        ("t.json", "", "is empty; give a file with at least one sentence"),
        ("t.txt", "\n \n", "is empty"),
        ("t.json", "[]", "is an empty list; give at least one sentence"),
        ("t.json", '{"Text": "x"}', "is no JSON list"),
        ("t.json", '["a b",\n]', "is not valid JSON at line"),
        ("t.json", '["a b", ""]', "record 1: the sentence is empty; remove it or give some text"),
        ("t.json", '["a b", {"Text": " "}]', "record 1: the sentence is empty"),
        ("t.json", '[{"text": "x"}]', "record 0: field 'Text' is missing; add it"),
        ("t.json", '[{"Text": 5}]', "record 0: 5 is not text; give a string"),
        ("t.json", "[null]", "record 0: None is not text"),
        ("t.json", '["\\ud800 x"]', "record 0: the sentence holds half a surrogate pair"),
        ("t.txt", "one two\n\nthree four\n", "line 2: the sentence is empty"),
    ],
)
def test_unusable_texts_are_named_with_their_fault(tmp_path: Path, name: str, content: str, problem: str) -> None:
    path = tmp_path / name
    path.write_text(content)

    with pytest.raises(UsageError) as caught:
        load_texts(str(path))

    assert str(caught.value).startswith(f"--ppl-texts {str(path)!r}")
    assert problem in str(caught.value)


def test_a_missing_file_or_another_encoding_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'default'"):
        load_texts("defualt")
    (tmp_path / "t.txt").write_text("caf\u00e9", encoding="utf-16")
    with pytest.raises(UsageError, match="is not UTF-8"):
        load_texts(str(tmp_path / "t.txt"))
    with pytest.raises(UsageError, match="is a directory"):
        load_texts(str(tmp_path))
