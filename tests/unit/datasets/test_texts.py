"""Sentences for perplexity: kept to the letter, refused when unusable."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from collapse_tests.datasets.texts import load_texts
from collapse_tests.errors import UsageError


@pytest.mark.parametrize(("name", "count"), [("default", 50), ("default-1k", 1000)])
def test_the_shipped_sentences_are_short_plain_and_all_different(name: str, count: int) -> None:
    texts = load_texts(name)

    assert len(texts) == len({text.casefold() for text in texts}) == count
    for text in texts:
        assert text.isascii()
        assert text == " ".join(text.split()).rstrip(".")
        assert 11 <= len(text.split()) <= 35


def test_the_larger_set_begins_with_the_smaller() -> None:
    small, large = load_texts("default"), load_texts("default-1k")

    assert large[: len(small)] == small


def test_no_two_of_the_larger_set_share_a_phrase_of_six_words() -> None:
    sentence_of: dict[tuple[str, ...], int] = {}
    for index, text in enumerate(load_texts("default-1k")):
        words = re.findall(r"\w+", text.lower())
        for phrase in zip(*(words[offset:] for offset in range(6)), strict=False):
            assert sentence_of.setdefault(phrase, index) == index, " ".join(phrase)


def test_no_word_opens_too_many_of_the_larger_set() -> None:
    texts = load_texts("default-1k")
    openings = Counter(text.split()[0].lower() for text in texts)

    assert openings.pop("the") <= 0.12 * len(texts)
    assert max(openings.values()) <= 0.06 * len(texts)


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
    with pytest.raises(UsageError, match=r"did you mean 'default'.*a shipped set: default, default-1k"):
        load_texts("defualt")
    with pytest.raises(UsageError, match="did you mean 'default-1k'"):
        load_texts("default-1000")
    (tmp_path / "t.txt").write_text("caf\u00e9", encoding="utf-16")
    with pytest.raises(UsageError, match="is not UTF-8"):
        load_texts(str(tmp_path / "t.txt"))
    with pytest.raises(UsageError, match="is a directory"):
        load_texts(str(tmp_path))
