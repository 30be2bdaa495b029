"""Documents to paragraphs to sentences."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.datasets.sentences.filters import load_language_check
from collapse_tests.datasets.sentences.splitting import load_splitter, paragraphs
from collapse_tests.errors import UsageError


def test_lines_broken_to_a_width_are_joined() -> None:
    wrapped = "The old ferry crossed the lake\ntwice a day, and in the summer\nit was never late.\n"
    assert list(paragraphs(wrapped)) == [" ".join(wrapped.split("\n")).strip()]


def test_a_heading_is_no_part_of_the_paragraph_below_it() -> None:
    body = "The town was founded in a bend of the river, where a ford had been in use for longer than records go back."
    assert list(paragraphs(f"History\n{body}")) == ["History", body]


def test_blank_lines_end_a_paragraph() -> None:
    assert list(paragraphs("One line\n \t\nAnd the other\r\n\n\n")) == ["One line", "And the other"]


def test_sentences_end_where_an_abbreviation_does_not() -> None:
    document = "Mr. Hill sold the mill in 1904. His son, who had left, e.g. for Leeds, came back.\n\nThen what?"
    assert list(load_splitter()(document)) == [
        "Mr. Hill sold the mill in 1904.",
        "His son, who had left, e.g. for Leeds, came back.",
        "Then what?",
    ]


@settings(max_examples=100, deadline=None, database=None)
@given(document=st.text(alphabet=st.sampled_from("aB1 .!?\"'\n\r\t\0\x0c\u2028\u2019\u6f22\U0001f600")))
def test_no_character_is_lost(document: str) -> None:
    found = list(load_splitter()(document))
    assert "".join("".join(found).split()) == "".join(document.split())
    assert all(sentence == sentence.strip() != "" for sentence in found)


@pytest.mark.parametrize(("library", "load"), [("sentencex", load_splitter), ("py3langid", load_language_check)])
def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, library: str, load: object) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert callable(load)
    with pytest.raises(UsageError, match=rf"{library}.*pip install 'pytest-collapse\[data\]'"):
        load()
