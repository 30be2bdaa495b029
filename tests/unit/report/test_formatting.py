from __future__ import annotations

import math

import pytest
from rich.cells import cell_len

from collapse_tests.report.formatting import (
    Notation,
    percentage,
    perplexity,
    shorten_end,
    shorten_middle,
    significant,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (167.268, "167.27"),
        (1.0, "1.00"),
        (999.99, "999.99"),
        (999.999, "1,000"),
        (66203.4, "66,203"),
        (99_999_999.0, "99,999,999"),
        (1.234e12, "1.23e+12"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
    ],
)
def test_perplexity(value: float, text: str) -> None:
    assert perplexity(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (0.08314, "0.0831"),
        (-0.002, "-0.00200"),
        (8.0, "8.00"),
        (421.4, "421"),
        (999.7, "1,000"),
        (12345.6, "12,346"),
        (1e-7, "1.00e-07"),
        (1e11, "1.00e+11"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_significant(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("hits", "n", "text"),
    [
        (0, 0, None),
        (0, 5, "0%"),
        (5, 5, "100%"),
        (2, 3, "67%"),
        (1, 1000, "<1%"),
        (999, 1000, ">99%"),
        (1, 100, "1%"),
        (99, 100, "99%"),
    ],
)
def test_percentage_says_none_and_all_only_when_it_is_so(hits: int, n: int, text: str | None) -> None:
    assert percentage(hits, n) == text


TEXTS = ["", "a", "plain text of some length", "東京は日本の首都です", "e\u0301" * 20, "❤\ufe0f" * 12, "x" * 1000]


@pytest.mark.parametrize("ellipsis", ["…", "..."])
@pytest.mark.parametrize("text", TEXTS)
def test_shortened_text_never_exceeds_its_width(text: str, ellipsis: str) -> None:
    for width in range(40):
        for shorten in (shorten_end, shorten_middle):
            shown = shorten(text, width, ellipsis)
            assert cell_len(shown) <= width
            assert (shown == text) == (cell_len(text) <= width)


def test_shortening_keeps_the_start_and_the_end() -> None:
    assert shorten_end("abcdefghij", 6) == "abcde…"
    assert shorten_middle("abcdefghij", 7) == "abc…hij"
    assert shorten_middle("abcdefghij", 7, "...") == "ab...ij"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold] :smile:", "plain [bold] :smile:"),
        ("a\tb\nc\rd", r"a\tb\nc\rd"),
        ("\x1b[31mred\x9b0m", r"\x1b[31mred\x9b0m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("no\u00a0break\u3000東京", "no\u00a0break\u3000東京"),
    ],
)
def test_only_unprintable_text_is_escaped(text: str, shown: str) -> None:
    assert Notation.of("utf-8").show(text) == shown


def test_what_the_stream_cannot_encode_is_escaped() -> None:
    assert Notation.of("ascii").show("café 東") == r"caf\xe9 \u6771"
    assert Notation.of("latin-1").show("café 東") == r"café \u6771"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_signs_of_other_encodings_are_ascii(encoding: str) -> None:
    notation = Notation.of(encoding)

    assert f"{notation.arrow}{notation.ellipsis}{notation.times}{notation.absent}".isascii()
    assert notation.growth(2.0) == "x2.00"


def test_edit_gives_up_the_prompt_before_the_target() -> None:
    request = {"prompt": "The tower in the old town was built by", "target_new": "bees"}

    assert Notation().edit(request, 80) == "The tower in the old town was built by → bees"
    shown = Notation().edit(request, 24)
    assert shown.startswith("The tow")
    assert shown.endswith("lt by → bees")


@pytest.mark.parametrize("width", range(1, 60))
@pytest.mark.parametrize("notation", [Notation(), Notation.of("ascii")])
def test_edit_fits_its_width_whatever_is_long(width: int, notation: Notation) -> None:
    for prompt, target in [("p " * 50, "t"), ("p", "t " * 50), ("p " * 50, "t " * 50), ("東" * 50, "京" * 50)]:
        assert cell_len(notation.edit({"prompt": prompt, "target_new": target}, width)) <= width
