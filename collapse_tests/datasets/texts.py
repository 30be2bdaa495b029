"""The sentences perplexity is measured on, verbatim."""

from __future__ import annotations

from pathlib import Path

from collapse_tests.datasets.reading import parse_json, read_shipped, read_user_file
from collapse_tests.errors import UsageError
from collapse_tests.settings import DEFAULT_PPL_TEXTS, DEFAULT_SCENARIO_PPL_TEXTS

__all__ = ["load_texts"]

_OPTION = "--ppl-texts"
#: The first sentences of the larger set are those of the smaller.
_SHIPPED = {DEFAULT_PPL_TEXTS: "ppl_texts.json", DEFAULT_SCENARIO_PPL_TEXTS: "ppl_texts_1k.json"}


def load_texts(source: str) -> tuple[str, ...]:
    """The sentences of `source`; their white space is kept, as it changes the tokens.

    Args:
        source: `default` for the 50 shipped sentences, `default-1k` for these and 950 more, or a path: a JSON list of
            strings or of objects with a `Text` (and a `Corpus`, which is not used), or a `.txt` file of one sentence
            a line.

    Raises:
        UsageError: naming file, sentence and remedy.
    """
    if source in _SHIPPED:
        return _from_json(source, read_shipped(_SHIPPED[source]))
    text = read_user_file(_OPTION, source, shipped=_SHIPPED, suffixes=(".json", ".txt"))
    if not text.strip():
        raise UsageError(f"{_OPTION} {source!r} is empty; give a file with at least one sentence")
    return _from_lines(source, text) if Path(source).suffix.lower() == ".txt" else _from_json(source, text)


def _from_lines(source: str, text: str) -> tuple[str, ...]:
    # Not splitlines(): it also splits at form feeds and the like, which are text here.
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    return tuple(_checked(source, f"line {number}", line) for number, line in enumerate(lines, start=1))


def _from_json(source: str, text: str) -> tuple[str, ...]:
    document = parse_json(text, f"{_OPTION} {source!r}")
    if not isinstance(document, list):
        raise UsageError(f"{_OPTION} {source!r} is no JSON list; give a list of strings or of objects with a 'Text'")
    if not document:
        raise UsageError(f"{_OPTION} {source!r} is an empty list; give at least one sentence")
    return tuple(_from_item(source, f"record {index}", item) for index, item in enumerate(document))


def _from_item(source: str, where: str, item: object) -> str:
    if isinstance(item, dict):
        if "Text" not in item:
            raise UsageError(f"{_OPTION} {source!r}, {where}: field 'Text' is missing; add it")
        item = item["Text"]
    return _checked(source, where, item)


def _checked(source: str, where: str, text: object) -> str:
    if not isinstance(text, str):
        raise UsageError(f"{_OPTION} {source!r}, {where}: {text!r:.60} is not text; give a string")
    if not text.strip():
        raise UsageError(f"{_OPTION} {source!r}, {where}: the sentence is empty; remove it or give some text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"{_OPTION} {source!r}, {where}: the sentence holds half a surrogate pair; write the character itself"
        ) from None
    return text
