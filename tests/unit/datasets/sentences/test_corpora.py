"""Corpora as they are typed, and their shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from collapse_tests.datasets.sentences.corpora import (
    STUDY,
    Corpus,
    open_source,
    parse_corpus,
    parse_share,
    shares_of,
    study_corpora,
)
from collapse_tests.errors import UsageError


@pytest.mark.parametrize(
    ("text", "corpus"),
    [
        ("wiki=a.txt", Corpus("wiki", "a.txt")),
        (" wiki = a.jsonl:body ", Corpus("wiki", "a.jsonl", "body")),
        ("x=hub:cc_news", Corpus("x", "hub:cc_news")),
        ("x=hub:a/b/c.en@refs/convert/parquet:TEXT", Corpus("x", "hub:a/b/c.en@refs/convert/parquet", "TEXT")),
        (r"x=C:\texts\a.txt", Corpus("x", r"C:\texts\a.txt")),
        ("x=a=b.txt", Corpus("x", "a=b.txt")),
    ],
)
def test_a_corpus_is_a_name_a_source_and_perhaps_a_field(text: str, corpus: Corpus) -> None:
    assert parse_corpus(text) == corpus
    assert parse_corpus(str(corpus)) == corpus


def test_a_path_with_a_colon_is_taken_whole_if_it_exists(tmp_path: Path) -> None:
    path = tmp_path / "a:b"
    path.mkdir()
    assert parse_corpus(f"x={path}") == Corpus("x", str(path))


@pytest.mark.parametrize("text", ["wiki", "=a.txt", "wiki=", ""])
def test_another_form_of_corpus_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not of the form NAME=SOURCE\[:FIELD\]; give for example"):
        parse_corpus(text)


def test_shares_are_whole_numbers() -> None:
    assert parse_share(" my wiki = 20 ") == ("my wiki", 20)
    for text in ("wiki", "wiki=0", "=3", "wiki=2.5"):
        with pytest.raises(UsageError, match="is not of the form NAME=N"):
            parse_share(text)


def test_the_study_takes_ten_thousand_sentences() -> None:
    assert sum(corpus.count for corpus in STUDY) == 10_000
    for corpus in study_corpora([]):
        open_source(corpus, seed=0, hub_bytes=1)


def test_the_study_corpora_leave_out_those_given_under_any_name() -> None:
    added = study_corpora([Corpus("wiki", "a.txt"), Corpus("cc_news", "b.txt"), Corpus("other", "c.txt")])
    assert [corpus.name for corpus in added] == ["BookCorpus", "C4", "Gutenberg", "OpenWebText", "ROOTS"]


def test_shares_are_the_study_s_by_name() -> None:
    corpora = [Corpus("wiki", "a"), Corpus("News", "b"), Corpus("open_web_text", "c")]
    assert shares_of(corpora, []) == {"wiki": 1000, "News": 700, "open_web_text": 5000}
    assert shares_of(corpora, [("wiki", 3)]) == {"wiki": 3, "News": 700, "open_web_text": 5000}


def test_shares_are_equal_where_the_study_knows_none() -> None:
    assert shares_of([Corpus("a", ""), Corpus("b", "")], []) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("names", "given", "problem"),
    [
        ([], [], "there is no corpus to sample from; give --corpus"),
        (["a", "a"], [], "'a' is given twice"),
        (["a"], [("b", 1)], "--share 'b' is no corpus of this command; it has a"),
        (["a", "wiki"], [], "--corpus 'a' is none of the study's.*--share a=N.*Wikipedia 1000"),
        (["a", "b"], [("b", 1)], "--share a=N"),
    ],
)
def test_shares_that_nothing_tells_are_asked_for(names: list[str], given: list[tuple[str, int]], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        shares_of([Corpus(name, "") for name in names], given)
