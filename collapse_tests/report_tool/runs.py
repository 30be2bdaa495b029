"""What `collapse-report` is given as a run: a directory, a file of records, or a baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collapse_tests.baseline.facts import facts_of, hyperparameters_of
from collapse_tests.baseline.file import read_baseline
from collapse_tests.baseline.snapshot import Snapshot, snapshot_of
from collapse_tests.errors import UsageError
from collapse_tests.records import Record
from collapse_tests.report.store import ENVIRONMENT_FILE, RECORDS_FILE, read_records

__all__ = ["snapshot_from"]


def snapshot_from(text: str, say: Callable[[str], None]) -> Snapshot:
    """What a run found.

    Args:
        text: a run's directory, its records.jsonl, or a baseline's file.
        say: takes a line about what is missing.

    Raises:
        UsageError: there is no such thing, or it is damaged.
    """
    path = Path(text)
    if path.is_file() and path.suffix != Path(RECORDS_FILE).suffix:
        return _with_cases(read_baseline(path), path)
    records, problems = read_records(path)
    for problem in problems:
        say(f"warning: {problem}")
    environment = _environment(path if path.is_dir() else path.parent)
    if environment is None:
        say(f"warning: no {ENVIRONMENT_FILE} beside the records of {path}; its settings are known from records alone")
        return _with_cases(snapshot_of(records, _facts_of_records(records)), path)
    return _with_cases(_with_environment(records, environment, path), path)


def _with_cases(snapshot: Snapshot, path: Path) -> Snapshot:
    if not snapshot.cases:
        raise UsageError(f"{path} holds no single edit; give a run that has some")
    return snapshot


def _with_environment(records: list[Record], environment: dict[str, Any], path: Path) -> Snapshot:
    try:
        settings = environment["settings"]
        facts = facts_of(settings, environment.get("ppl_texts_digest"))
        overrides = hyperparameters_of(settings.get("overrides", ()))
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(
            f"{ENVIRONMENT_FILE} of {path} is not a run's ({type(error).__name__}: {error}); restore or remove it"
        ) from None
    return snapshot_of(records, facts, overrides)


def _environment(directory: Path) -> dict[str, Any] | None:
    file = directory / ENVIRONMENT_FILE
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read ({error}); restore or remove it") from None
    if not isinstance(data, dict):
        raise UsageError(f"{file} is no JSON object; restore or remove it")
    return data


def _facts_of_records(records: list[Record]) -> dict[str, Any]:
    """What the records themselves tell, where they agree."""
    limits, seeds = {record.ppl_limit for record in records}, {record.seed for record in records}
    facts: dict[str, Any] = {"ppl_limit": limits.pop()} if len(limits) == 1 else {}
    return facts | ({"seed": seeds.pop()} if len(seeds) == 1 else {})
