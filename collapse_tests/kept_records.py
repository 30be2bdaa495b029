"""Records of earlier runs that answer for a case, so that it need not be run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collapse_tests.cases import Case
from collapse_tests.environment import fingerprint
from collapse_tests.errors import UsageError
from collapse_tests.records import Record, Verdict
from collapse_tests.report.store import ENVIRONMENT_FILE, RECORDS_FILE, read_records
from collapse_tests.settings import DEFAULT_PPL_TEXTS, Settings

__all__ = ["DECISIVE", "KeptRecords", "outcomes_of", "run_directories"]

#: Settings that a record's numbers depend on; the models' digests are in the records.
DECISIVE = ("ppl_texts", "ppl_limit", "dtype", "matmul_precision", "seed")

#: What a hyper-parameter given by the user comes down to; where it was given changes nothing.
_OVERRIDE = ("editor", "field", "value")

#: What says which sentences the settings' `ppl_texts` held then.
_TEXTS = "ppl_texts_digest"

_Key = tuple[str, str, tuple[tuple[str, str | None], ...]]


class KeptRecords:
    """The records below a directory that were made with the same settings.

    What lasts is the last record of a case that is no error: those are worth another try.

    Args:
        directory: holds a directory for each run, or is one; it need not exist.
        settings: of the run that asks.
        say: takes a line about what is left alone, and why.
        decisive: names of the settings that have to agree, besides the editor's hyper-parameters.

    Raises:
        UsageError: a file of records is damaged before its last line.
    """

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        say: Callable[[str], None] = lambda line: None,
        decisive: Sequence[str] = DECISIVE,
    ) -> None:
        own = fingerprint(settings)
        self._own = {**json.loads(json.dumps(own["settings"])), _TEXTS: own[_TEXTS]}
        self._say = say
        self._decisive = decisive
        self._found: dict[_Key, Record] = {}
        self._runs: dict[_Key, Path] = {}
        for run in run_directories(directory):
            self._take(run)

    def __len__(self) -> int:
        return len(self._found)

    def record_of(self, case: Case, digest: str | None) -> Record | None:
        """The record of a case: of the same model, editor and request, whatever set that came from.

        Args:
            case: with its id, which the record gets.
            digest: of the model's weights, or None to take those of the records.
        """
        record = self._found.get(_key_of_case(case))
        return None if record is None or (digest is not None and record.model_digest != digest) else record

    def run_of(self, case: Case) -> Path | None:
        """The directory of the run that the record of a case is from."""
        return self._runs.get(_key_of_case(case))

    def digests(self, model: str) -> set[str]:
        """Digests of the weights of a model in the records."""
        return {record.model_digest for key, record in self._found.items() if key[0] == model}

    def _take(self, run: Path) -> None:
        theirs = _environment(run)
        records, problems = read_records(run)
        for problem in problems:
            self._say(f"warning: {problem}")
        left_alone = 0
        editors = dict.fromkeys(record.editor for record in records)
        differences = {editor: _difference(theirs, self._own, editor, self._decisive) for editor in editors}
        for record in records:
            if difference := differences[record.editor]:
                left_alone += 1
                why = difference
            elif record.verdict is not Verdict.ERROR:
                self._found[_key_of_record(record)] = record
                self._runs[_key_of_record(record)] = run
        if left_alone:
            self._say(f"{run}: {left_alone:,} records are left alone, as {why}")


def run_directories(directory: Path) -> list[Path]:
    """The directories of runs: the given one, if it is one, and those in it, in order of their names."""
    if not directory.is_dir():
        return []
    return [path for path in (directory, *sorted(directory.iterdir())) if (path / RECORDS_FILE).is_file()]


def _environment(run: Path) -> Mapping[str, Any]:
    file = run / ENVIRONMENT_FILE
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        settings: Mapping[str, Any] = facts["settings"]
        overrides = [{name: one[name] for name in _OVERRIDE} for one in settings["overrides"]]
        return {**settings, "overrides": overrides, _TEXTS: facts.get(_TEXTS)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file} does not say with which settings the records beside it were made "
            f"({type(error).__name__}: {error}); restore it, or take that run away"
        ) from error


def _difference(theirs: Mapping[str, Any], own: Mapping[str, Any], editor: str, decisive: Sequence[str]) -> str | None:
    """In words, the first setting that keeps their records from being ours."""
    for name in decisive:
        if _plain(name, theirs.get(name)) != _plain(name, own[name]):
            return f"their {name} was {theirs.get(name)}, not {own[name]}"
    if theirs[_TEXTS] is not None and theirs[_TEXTS] != own[_TEXTS]:
        return f"their ppl_texts, {_plain('ppl_texts', own['ppl_texts'])}, held other sentences"
    if _overrides(theirs, editor) != _overrides(own, editor):
        return f"{editor} had other hyper-parameters"
    return None


def _plain(name: str, value: object) -> object:
    return DEFAULT_PPL_TEXTS if name == "ppl_texts" and value is None else value


def _overrides(settings: Mapping[str, Any], editor: str) -> dict[str, Any]:
    return {one["field"]: one["value"] for one in settings["overrides"] if one["editor"] == editor}


def _key_of_record(record: Record) -> _Key:
    return record.model, record.editor, tuple(sorted(record.request.items()))


def _key_of_case(case: Case) -> _Key:
    request = case.request
    fields: Iterator[tuple[str, str | None]] = ((name, getattr(request, name)) for name in request.__slots__)
    return case.model, case.editor, tuple(sorted(fields))


def outcomes_of(cases: Sequence[Case], directory: Path, say: Callable[[str], None]) -> dict[str, Record]:
    """Case id → the last record below a directory of the same model, editor and request, with whatever settings.

    Raises:
        UsageError: there is no run, or a file of records is damaged before its last line.
    """
    runs = run_directories(directory)
    if not runs:
        raise UsageError(f"{str(directory)!r} is no run's directory and holds none; give one that has {RECORDS_FILE}")
    found: dict[_Key, Record] = {}
    for run in runs:
        records, problems = read_records(run)
        for problem in problems:
            say(f"warning: {problem}")
        found |= {_key_of_record(record): record for record in records}
    return {case.id: found[key] for case in cases if (key := _key_of_case(case)) in found}
