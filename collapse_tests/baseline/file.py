"""The baseline's file: one JSON document that is pleasant to keep in git.

Strict ASCII, sorted, a case on each line and numbers to six significant digits, so that a diff shows what changed and
nothing else. inf and NaN are text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from collapse_tests.baseline.facts import check_facts
from collapse_tests.baseline.scenarios import ScenarioOutcome
from collapse_tests.baseline.snapshot import CaseOutcome, Group, Snapshot
from collapse_tests.cases import group_key
from collapse_tests.errors import InfrastructureError, UsageError
from collapse_tests.plain_data import encode, number
from collapse_tests.records import Verdict

__all__ = ["BASELINE_SCHEMA", "baseline_text", "read_baseline", "write_baseline"]

BASELINE_SCHEMA = 1

_Outcome = TypeVar("_Outcome", CaseOutcome, ScenarioOutcome)

_SECTIONS = ("settings", "groups", "cases")
#: Not in every file, as the first ones had none.
_SCENARIOS = "scenarios"
_REMEDY = "restore the file from version control, or remove it and make it again with --update-baseline"


def baseline_text(snapshot: Snapshot) -> str:
    """The file's content. What ended in an error is left out, as nothing was learnt of it."""
    sections: dict[str, dict[str, Any]] = {
        "settings": dict(snapshot.facts),
        "groups": {name: _group_data(group) for name, group in snapshot.groups.items()},
        "cases": {
            case: _case_data(outcome)
            for case, outcome in snapshot.cases.items()
            if outcome.verdict is not Verdict.ERROR
        },
    }
    scenarios = {
        case: _scenario_data(outcome)
        for case, outcome in snapshot.scenarios.items()
        if outcome.verdict is not Verdict.ERROR
    }
    if scenarios:
        sections[_SCENARIOS] = scenarios
    blocks = [f'"schema": {BASELINE_SCHEMA}', *(_block(name, section) for name, section in sections.items())]
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def write_baseline(path: Path, snapshot: Snapshot) -> bool:
    """Write the file whole or not at all; missing directories are made.

    Returns:
        Whether it was written; False where it held just that already.

    Raises:
        InfrastructureError: it cannot be written; a file of before is still there.
    """
    text = baseline_text(snapshot).encode("ascii")
    target = path.resolve()  # a link stays one
    beside = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        if target.exists() and target.read_bytes() == text:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(text)
        beside.replace(target)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise InfrastructureError(
            f"cannot write the baseline {path}: {error.strerror or error}; free some space there or choose another file"
        ) from error
    return True


def read_baseline(path: Path) -> Snapshot:
    """The snapshot that a file holds.

    Raises:
        UsageError: it cannot be read, is damaged, or was written by another version; naming file, line and remedy.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"baseline {path} is no text; {_REMEDY}") from None
    except OSError as error:
        raise UsageError(
            f"baseline {path} cannot be read ({error.strerror}); give a baseline's file, or make it with "
            "--update-baseline"
        ) from None
    return _Reader(path, text).snapshot()


class _Reader:
    """Reads one file; knows where in it what is wrong stands.

    Args:
        path: of the file.
        text: its content.
    """

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text

    def snapshot(self) -> Snapshot:
        """As `read_baseline`."""
        document = self._document()
        if document.get("schema") != BASELINE_SCHEMA:
            raise UsageError(
                f"baseline {self._path}:{self._line_of('schema')}: schema {document.get('schema')!r}, this version "
                f"reads schema {BASELINE_SCHEMA}; make it again with --update-baseline, to a new file, or use the "
                "version of pytest-collapse that wrote it"
            )
        facts, groups, cases = (self._section(document, name) for name in _SECTIONS)
        scenarios = self._section(document, _SCENARIOS) if _SCENARIOS in document else {}
        try:
            check_facts(facts)
        except ValueError as error:
            self._refuse(self._line_of("settings"), f"setting {error}")
        snapshot = Snapshot(
            facts=facts,
            groups={name: self._group(name, data) for name, data in groups.items()},
            cases={case: self._outcome(case, data, _outcome) for case, data in cases.items()},
            scenarios={case: self._outcome(case, data, _scenario) for case, data in scenarios.items()},
        )
        for case in (*snapshot.cases, *snapshot.scenarios):
            if group_key(case) not in snapshot.groups:
                self._refuse(self._line_of(case), f"case {case!r} is of no group of this file")
        return snapshot

    def _document(self) -> dict[str, Any]:
        try:
            document = json.loads(self._text, object_pairs_hook=self._object, parse_constant=self._constant)
        except json.JSONDecodeError as error:
            self._refuse(error.lineno, f"no JSON ({error.msg})")
        except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
            self._refuse(1, f"no JSON ({error})")
        if not isinstance(document, dict):
            self._refuse(1, "no JSON object")
        return document

    def _section(self, document: Mapping[str, Any], name: str) -> dict[str, Any]:
        section = document.get(name)
        if not isinstance(section, dict):
            self._refuse(self._line_of(name), f"{name!r} is missing or no JSON object")
        return section

    def _group(self, name: str, data: Any) -> Group:
        try:
            group = Group(data["model"], data["editor"], data["model_digest"], data["hyperparameters"])
        except (KeyError, TypeError) as error:
            self._refuse(self._line_of(name), f"group {name!r} lacks {error}")
        if not all(isinstance(text, str) for text in (group.model, group.editor, group.model_digest)):
            self._refuse(self._line_of(name), f"group {name!r} has a name or a digest that is no text")
        if not isinstance(group.hyperparameters, dict):
            self._refuse(self._line_of(name), f"group {name!r} has hyperparameters that are no JSON object")
        return group

    def _outcome(self, case: str, data: Any, parse: Callable[[Any], _Outcome]) -> _Outcome:
        try:
            return parse(data)
        except KeyError as error:
            self._refuse(self._line_of(case), f"case {case!r} lacks {error} or has a text for a number")
        except (AttributeError, TypeError, ValueError) as error:
            self._refuse(self._line_of(case), f"case {case!r}: {error}")

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """As JSON makes it, but a name that is there twice, as after a careless merge, is refused."""
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                self._refuse(self._line_of(name, last=True), f"{name!r} is there twice")
            found[name] = value
        return found

    def _constant(self, name: str) -> NoReturn:
        self._refuse(self._text[: self._text.find(name)].count("\n") + 1, f"{name} is no JSON value")

    def _line_of(self, name: str, *, last: bool = False) -> int:
        """The line on which a name stands as a key; 1 where it does not."""
        key = json.dumps(name)
        place = self._text.rfind(key) if last else self._text.find(key)
        return self._text[: max(place, 0)].count("\n") + 1

    def _refuse(self, line: int, why: str) -> NoReturn:
        raise UsageError(f"baseline {self._path}:{line}: {why}; {_REMEDY}")


def _outcome(data: Mapping[str, Any]) -> CaseOutcome:
    """The inverse of `_case_data`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the data is of another form.
    """
    request, me_ppl, success = data["request"], data["me_ppl"], data["success"]
    if not isinstance(request, str):
        raise TypeError(f"request {request!r} is no digest")
    if success is not None and not isinstance(success, bool):
        raise TypeError(f"success {success!r} is neither true nor false nor null")
    verdict = Verdict(data["verdict"])
    value = None if me_ppl is None else number(me_ppl)
    if value is not None and value <= 0:
        raise ValueError(f"me_ppl {me_ppl!r} is no perplexity")
    return CaseOutcome(
        request, verdict, value, success, {task: number(score) for task, score in data.get("tasks", {}).items()}
    )


def _scenario(data: Mapping[str, Any]) -> ScenarioOutcome:
    """The inverse of `_scenario_data`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the data is of another form.
    """
    requests, planned, after = data["requests"], data["planned"], data["collapsed_after"]
    if not isinstance(requests, str):
        raise TypeError(f"requests {requests!r} are no digest")
    for name, count in (("planned", planned), ("collapsed_after", after)):
        # JSON's true is a whole number to Python.
        if count is not None and (type(count) is not int or count < 1):
            raise ValueError(f"{name} {count!r} is no number of edits")
    if planned is None:
        raise ValueError("planned is missing")
    outcome = ScenarioOutcome(requests, Verdict(data["verdict"]), planned, after)
    if outcome.collapsed is (after is None):
        raise ValueError(f"collapsed_after {after!r} does not go with the verdict {outcome.verdict}")
    return outcome


def _scenario_data(outcome: ScenarioOutcome) -> dict[str, Any]:
    return {
        "verdict": outcome.verdict,
        "collapsed_after": outcome.collapsed_after,
        "planned": outcome.planned,
        "requests": outcome.requests,
    }


def _case_data(outcome: CaseOutcome) -> dict[str, Any]:
    data: dict[str, Any] = {"verdict": outcome.verdict, "me_ppl": outcome.me_ppl, "success": outcome.success}
    return data | ({"tasks": dict(outcome.tasks)} if outcome.tasks else {}) | {"request": outcome.request}


def _group_data(group: Group) -> dict[str, Any]:
    return {
        "model": group.model,
        "editor": group.editor,
        "model_digest": group.model_digest,
        "hyperparameters": dict(group.hyperparameters or {}),
    }


def _block(name: str, section: Mapping[str, Any]) -> str:
    """A section with each of its entries on one line."""
    entries = ",\n".join(_lines(section))
    return f'"{name}": {{\n{entries}\n}}' if entries else f'"{name}": {{}}'


def _lines(section: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(section):
        value = encode(section[name])
        if isinstance(value, dict):  # what matters most stands first; below that, order is that of the alphabet
            value = {key: _sorted(item) for key, item in value.items()}
        yield f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}"


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
