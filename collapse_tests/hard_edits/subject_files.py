"""A YAML file of subjects → the repository, with errors that name file, category and subject."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml
from pydantic import ValidationError

from collapse_tests.datasets.reading import read_shipped, read_user_file
from collapse_tests.errors import UsageError
from collapse_tests.hard_edits.subjects import SubjectRepository
from collapse_tests.yaml_values import yaml_loader

__all__ = ["SHIPPED", "load_subjects", "parse_subjects"]

#: The name of the shipped repository.
SHIPPED = "default"

_OPTION = "--subjects"
_FILE = "subjects.yaml"

#: pydantic's type of an error → what to tell the user, with a place for the value.
_WORDS = {
    "string_type": "{} is not text; write text, in quotes where YAML takes it for something else",
    "missing": "it is missing; add it",
    "extra_forbidden": "there is no such field; remove it or correct its name",
    "too_short": "it is empty; give at least one entry",
    "dict_type": "{} is no mapping; write `name: value`",
    "model_type": "{} is no mapping; write `name: value`",
    "list_type": "{} is no list; begin each entry with a dash",
}


def load_subjects(source: str = SHIPPED) -> SubjectRepository:
    """The subject repository of `source`.

    Args:
        source: `default` for the shipped one, or the path of a YAML file of the same form.

    Raises:
        UsageError: naming file, category, subject and remedy.
    """
    if source == SHIPPED:
        return parse_subjects(read_shipped(_FILE), _FILE)
    text = read_user_file(_OPTION, source, shipped=(SHIPPED,), suffixes=(".yaml", ".yml"))
    return parse_subjects(text, f"{_OPTION} {source!r}")


def parse_subjects(text: str | bytes, where: str) -> SubjectRepository:
    """The subject repository in a YAML document.

    Args:
        text: the document, as UTF-8 where it is bytes.
        where: the file in words, the start of every message.

    Raises:
        UsageError: it is not YAML, or not of the repository's form.
    """
    try:
        document: object = yaml.load(text, _loader())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not YAML this program can read: {_problem(error)}; correct it there") from None
    if not isinstance(document, dict):
        raise UsageError(f"{where} holds no mapping; write `categories:` and a list of categories below it")
    try:
        return SubjectRepository.model_validate(document)
    except ValidationError as error:
        raise UsageError(_explain(where, document, error)) from None


@cache
def _loader() -> Any:
    """The package's YAML, in which a key may not occur twice: the last would win, and a subject be lost unseen."""

    def construct_mapping(self: Any, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is there twice", key.start_mark)
            if name is not None:
                seen.add(name)
        return yaml.SafeLoader.construct_mapping(self, node, deep)

    return type("Loader", (yaml_loader(),), {"construct_mapping": construct_mapping})


def _problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', None) or 'it is broken'}"


def _explain(where: str, document: dict[object, object], error: ValidationError) -> str:
    problems = error.errors()
    first = problems[0]
    place = ", ".join([where, *_place(document, first["loc"])])
    more = len(problems) - 1
    others = f" ({more} further {'entry is' if more == 1 else 'entries are'} wrong too)" if more else ""
    # A check of this package stands in `ctx` without the library's own words before it.
    cause = first.get("ctx", {}).get("error")
    text = str(cause) if cause is not None else _of_library(first["type"], first["input"], first["msg"])
    return f"{place}: {text}{others}"


def _place(document: dict[object, object], loc: tuple[int | str, ...]) -> list[str]:
    """Words for the path to what is wrong."""
    match loc:
        case ("categories", int(index), *rest):
            return [_category(document, index), *_place_in_category(rest)]
        case (first, *_):
            return [f"field {first!r}"]
    return []


def _place_in_category(loc: list[int | str]) -> list[str]:
    match loc:
        case ["subjects" | "relations" as kind, _, "[key]"]:
            return [f"a {kind[:-1]}"]
        case ["subjects" | "relations" as kind, name, *inner]:
            at = ".".join(str(part) for part in inner if part != "[key]")
            what = "relation" if kind == "subjects" else "field"
            return [f"{kind[:-1]} {name!r}", *([f"{what} {at!r}"] if at else [])]
        case [_, *_]:
            return [f"field {'.'.join(map(str, loc))!r}"]
    return []


def _category(document: dict[object, object], index: int) -> str:
    match document.get("categories"):
        case list(entries) if isinstance(entry := entries[index], dict) and isinstance(entry.get("name"), str):
            return f"category {entry['name']!r}"
    return f"category number {index + 1}"


def _of_library(kind: str, value: object, message: str) -> str:
    words = _WORDS.get(kind)
    return f"{' '.join(message.split())}; correct it" if words is None else words.format(f"{value!r:.60}")
