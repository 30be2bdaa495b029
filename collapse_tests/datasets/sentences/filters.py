"""Which sentences are plain English; every other has one reason, the first that applies."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum

from collapse_tests.datasets.sentences.splitting import extra_library

__all__ = [
    "MOST_WORDS",
    "WORDS",
    "LanguageCheck",
    "Rejection",
    "load_language_check",
    "normalised",
    "rejection",
    "without_end",
]

#: A sentence has more words than this, as in the study.
WORDS = 10
#: And no more than this: longer ones are lists, or were not cut. So are those of very many characters.
MOST_WORDS = 100
_MOST_CHARACTERS = 2000

LanguageCheck = Callable[[str], bool]
"""Whether a sentence is English."""


class Rejection(StrEnum):
    """Why a sentence is left out; the value is how the data card says it."""

    CONTROL = "control or replacement characters"
    FOREIGN = "characters outside ASCII"
    SHORT = f"{WORDS} words or fewer"
    LONG = f"more than {MOST_WORDS} words or {_MOST_CHARACTERS:,} characters"
    MARKUP = "markup, code or an address"
    UNFINISHED = "does not begin and end like a sentence"
    LANGUAGE = "not English by py3langid"


#: Typography that has a plain form; whatever else is not ASCII is a reason to reject.
_PLAIN = str.maketrans(
    {
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{SINGLE LOW-9 QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{DOUBLE LOW-9 QUOTATION MARK}": '"',
        "\N{PRIME}": "'",
        "\N{DOUBLE PRIME}": '"',
        "\N{HYPHEN}": "-",
        "\N{NON-BREAKING HYPHEN}": "-",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": " - ",
        "\N{HORIZONTAL BAR}": " - ",
        "\N{MINUS SIGN}": "-",
        "\N{HORIZONTAL ELLIPSIS}": "...",
        "\N{SOFT HYPHEN}": None,
        "\N{LATIN SMALL LIGATURE FI}": "fi",
        "\N{LATIN SMALL LIGATURE FL}": "fl",
    }
)

#: Quotation marks of a typewriter and of tokenised corpora.
_TYPED = re.compile("``|''")

#: A word is what white space separates and has a letter.
_WORD = re.compile(r"(?<!\S)[^\sA-Za-z]*[A-Za-z]")

_MARKUP = re.compile(
    r"""
    https?: | www\. | \S@\S | \w/\w+/        # addresses and paths
    | \b[\w-]+\.(?:com|org|net|edu|gov|info|io|co|uk|de|html?|php)\b
    | [<>{}|\\^_~`*\#=]                      # tags, braces, tables, emphasis, headings
    | & \#? \w+ ;                            # entities
    | \[ (?: \[ | \d+ \] | edit \] | citation )
    | \S{41}                                  # no word is that long
    | @-@ | \(\s*\) | [,;:] \s* \) # what is left where markup was taken out
    """,
    re.VERBOSE | re.IGNORECASE,
)

#: A small letter only where there is no capital at all: some corpora have none, elsewhere it begins a fragment.
_BEGINS = re.compile(r"""["'(\[$]*\ ?(?:[A-Z0-9]|[a-z][^A-Z]*\Z)""")
_ENDS = re.compile(r"""[.!?]\ ?["')\]]*\Z""")


def normalised(sentence: str) -> str:
    """The sentence with plain quotation marks, dashes and dots, and single spaces."""
    plain = sentence if sentence.isascii() else sentence.translate(_PLAIN)
    return " ".join(_TYPED.sub('"', plain).split())


def rejection(sentence: str) -> Rejection | None:
    """Why a normalised sentence is left out, the language aside; None if it is not."""
    if not sentence.isascii() or not sentence.isprintable():
        return Rejection.CONTROL if any(map(_is_control, sentence)) else Rejection.FOREIGN
    words = len(_WORD.findall(sentence))
    if words <= WORDS:
        return Rejection.SHORT
    if words > MOST_WORDS or len(sentence) > _MOST_CHARACTERS:
        return Rejection.LONG
    if _MARKUP.search(sentence):
        return Rejection.MARKUP
    return None if _BEGINS.match(sentence) and _ENDS.search(sentence) else Rejection.UNFINISHED


def without_end(sentence: str) -> str:
    """The sentence without its last full stop, question or exclamation mark, as in the published sets.

    The mark is easy to predict, so it would lower every perplexity. One within quotation marks or brackets stays.
    """
    return sentence.rstrip(".!? ")


def load_language_check() -> LanguageCheck:
    """English is what py3langid finds most likely among all the languages it knows.

    Raises:
        UsageError: py3langid is not installed.
    """
    classify: Callable[[str], tuple[str, float]] = extra_library("py3langid").classify
    return lambda sentence: classify(sentence)[0] == "en"


def _is_control(character: str) -> bool:
    return character == "\N{REPLACEMENT CHARACTER}" or unicodedata.category(character) in ("Cc", "Cf", "Cn", "Co", "Cs")
