"""Plain English is kept; everything else is left out for the reason that comes first."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_tests.datasets.sentences.filters import Rejection, load_language_check, normalised, rejection, without_end

PLAIN = "The two brothers rowed back to the island before the storm had reached it."


@pytest.mark.parametrize(
    "sentence",
    [
        PLAIN,
        '"We never meant to stay," she said, "but the house had other ideas for us."',
        "In 1987 the firm paid $4.5 million (about a third of its value) for the old mill!",
        "he had n't seen her since the winter , and now she was standing there .",
        "Why would anyone build a road to a place that nobody has ever wanted to visit?",
        "They asked for tea, bread and butter, and got all of it within ten minutes (free of charge.)",
    ],
)
def test_plain_sentences_are_kept(sentence: str) -> None:
    assert rejection(normalised(sentence)) is None


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("The ten words of this sentence are not quite enough.", Rejection.SHORT),
        ("1 2 3 4 5 6 7 8 9 10 11 12 13 14 are all of the numbers.", Rejection.SHORT),
        ("", Rejection.SHORT),
        ("Go on " * 50 + "and on.", Rejection.LONG),
        (PLAIN[:-1] + " " + "x" * 2000 + ".", Rejection.LONG),
        (PLAIN.replace("two", "t\0wo"), Rejection.CONTROL),
        (PLAIN.replace("two", "t\ufffdwo"), Rejection.CONTROL),
        (PLAIN.replace("two", "t\u200bwo"), Rejection.CONTROL),
        (PLAIN.replace("brothers", "frères"), Rejection.FOREIGN),
        (PLAIN.replace("storm", "storm \u20ac"), Rejection.FOREIGN),
        ("\u4e8c\u4eba\u306f\u5cf6\u306b\u623b\u3063\u305f\u3002", Rejection.FOREIGN),
        (PLAIN.replace("island", "<b>island</b>"), Rejection.MARKUP),
        (PLAIN.replace("island", "island &amp; back"), Rejection.MARKUP),
        (PLAIN.replace("island", "https://example.org/island"), Rejection.MARKUP),
        (PLAIN.replace("island", "island.example.org"), Rejection.MARKUP),
        (PLAIN.replace("island", "me@island"), Rejection.MARKUP),
        (PLAIN.replace("island", "[[island]]"), Rejection.MARKUP),
        (PLAIN.replace("island.", "island.[12]").replace("it.", "it [3]."), Rejection.MARKUP),
        (PLAIN.replace("island", "{{island}}"), Rejection.MARKUP),
        (PLAIN.replace("two", "**two**"), Rejection.MARKUP),
        (PLAIN.replace("two", "two @-@ three"), Rejection.MARKUP),
        (PLAIN.replace("storm", "storm ()"), Rejection.MARKUP),
        (PLAIN[:-1], Rejection.UNFINISHED),
        (PLAIN[:-1] + ":", Rejection.UNFINISHED),
        ("- " + PLAIN, Rejection.UNFINISHED),
        ("and The two brothers" + PLAIN[16:], Rejection.UNFINISHED),
    ],
)
def test_others_are_left_out_for_a_reason(sentence: str, reason: Rejection) -> None:
    assert rejection(normalised(sentence)) is reason


def test_typography_becomes_plain() -> None:
    typeset = " \u201cIt\u2019s a dog\u2019s life\u201d \u2013 so\u00a0they say\u2014they all do\u2026\n"
    assert normalised(typeset) == "\"It's a dog's life\" - so they say - they all do..."


def test_quotation_marks_of_tokenised_text_become_plain() -> None:
    tokenised = "`` the boat is gone , '' she said , and they all looked out over the water ."
    assert normalised(tokenised).count('"') == 2
    assert rejection(normalised(tokenised)) is None


@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("They all went home.", "They all went home"),
        ("they all went home .", "they all went home"),
        ("Did they all go home?!", "Did they all go home"),
        ("They all went ...", "They all went"),
        ('"They all went home."', '"They all went home."'),
        ("They went home (all of them.)", "They went home (all of them.)"),
    ],
)
def test_the_last_mark_is_left_out(sentence: str, text: str) -> None:
    assert without_end(sentence) == text


@settings(max_examples=100, deadline=None, database=None)
@given(sentence=st.text(alphabet=st.characters(), max_size=200))
def test_what_is_kept_is_plain_whatever_comes(sentence: str) -> None:
    once = normalised(sentence)
    assert normalised(once) == once
    if rejection(once) is None:
        assert once.isascii()
        assert once.isprintable()
        assert len(once.split()) > 10


@settings(max_examples=100, deadline=None, database=None)
@given(
    words=st.lists(st.sampled_from(["river", "old", "a-b", "3", "<i>", "\u00e9", '"so"', "end.", "U.S."]), max_size=150)
)
def test_kept_sentences_have_more_than_ten_words_and_an_end(words: list[str]) -> None:
    sentence = normalised(" ".join(["The", *words, "ends."]))
    if rejection(sentence) is None:
        assert 10 < sum(any(letter.isalpha() for letter in word) for word in sentence.split()) <= 100
        assert not set(sentence) & set("<>\u00e9")


@pytest.mark.parametrize("piece", ["1", "a-", "a.", "/a", "&", "'\"", "a"])
def test_text_without_spaces_is_rejected_in_time_linear_in_its_length(piece: str) -> None:
    # With the square of the length, this would take hours.
    assert rejection(piece * 200_000) is not None
    assert rejection("Eleven words come before it here so that it is looked at: " + piece * 1000 + ".") is not None


@pytest.mark.parametrize(
    ("sentence", "english"),
    [
        (PLAIN, True),
        ("De twee broers roeiden terug naar het eiland voordat de storm het had bereikt.", False),
        ("Los dos hermanos remaron de vuelta a la isla antes de que llegara la tormenta.", False),
        ("Die zwei alten Freunde ruderten wieder zum Ufer, bevor der Sturm es erreichte.", False),
    ],
)
def test_the_language_is_told(sentence: str, english: bool) -> None:
    assert load_language_check()(sentence) is english
