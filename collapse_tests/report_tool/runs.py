"""What `collapse-report` is given as a run: a directory, a file of records, or a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from collapse_tests.baseline.facts import check_facts, facts_of, hyperparameters_of
from collapse_tests.baseline.file import read_baseline
from collapse_tests.baseline.snapshot import Snapshot, snapshot_of
from collapse_tests.commands import parsed
from collapse_tests.errors import UsageError
from collapse_tests.option_values import parse_path
from collapse_tests.records import Record
from collapse_tests.report.reading import (
    ENVIRONMENT_FILE,
    RECORDS_FILE,
    SEQUENCES_FILE,
    read_environment,
    read_records,
    read_sequences,
)
from collapse_tests.report.side_by_side import NamedRun
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["FoundRun", "named_runs", "run_from"]


@dataclass(frozen=True, slots=True)
class FoundRun:
    """What a run found.

    Attributes:
        snapshot: in short.
        records: of its single edits; none of a baseline.
    """

    snapshot: Snapshot
    records: Sequence[Record] = ()


def run_from(text: str, say: Callable[[str], None]) -> FoundRun:
    """What a run found.

    Args:
        text: a run's directory, its records.jsonl, or a baseline's file.
        say: takes a line about what is missing.

    Raises:
        UsageError: there is no such thing, or it is damaged.
    """
    path = Path(text)
    if path.is_file() and path.suffix != Path(RECORDS_FILE).suffix:
        return FoundRun(read_baseline(path))
    records, problems = read_records(path)
    folder = path if path.is_dir() else path.parent
    sequences, more = read_sequences(folder) if (folder / SEQUENCES_FILE).exists() else ([], [])
    for problem in (*problems, *more):
        say(f"warning: {problem}")
    environment = _environment(folder)
    if environment is None:
        say(f"warning: no {ENVIRONMENT_FILE} beside the records of {path}; its settings are known from records alone")
        return FoundRun(snapshot_of(records, _facts_of_records(records), sequences=sequences), records)
    return FoundRun(_with_environment(records, sequences, environment, path), records)


def named_runs(places: Sequence[str], say: Callable[[str], None]) -> list[NamedRun]:
    """Runs to set side by side, in the order given.

    Args:
        places: see `run_from`.
        say: likewise.

    Raises:
        UsageError: one is none, damaged or without a single edit, or there are more than letters to name them.
    """
    if len(places) > len(ascii_uppercase):
        raise UsageError(f"{len(places)} runs are too many; give at most {len(ascii_uppercase)}")
    return [_named(letter, place, say) for letter, place in zip(ascii_uppercase, places, strict=False)]


def _named(letter: str, place: str, say: Callable[[str], None]) -> NamedRun:
    found = run_from(parsed("RUN", parse_path, place), say)
    if not found.snapshot.cases:
        raise UsageError(f"{place} holds no single edit; give a run that has some")
    return NamedRun(letter, place, found.snapshot, found.records)


def _with_environment(
    records: list[Record], sequences: list[SequenceRecord], environment: dict[str, Any], path: Path
) -> Snapshot:
    try:
        settings = environment["settings"]
        facts = facts_of(settings, environment.get("ppl_texts_digest"))
        check_facts(facts)
        overrides = hyperparameters_of(settings.get("overrides", ()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{ENVIRONMENT_FILE} of {path} is not a run's ({type(error).__name__}: {error}); restore or remove it"
        ) from None
    return snapshot_of(records, facts, overrides, sequences)


def _environment(directory: Path) -> dict[str, Any] | None:
    try:
        return read_environment(directory)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{directory / ENVIRONMENT_FILE} cannot be read ({error}); restore or remove it") from None


def _facts_of_records(records: list[Record]) -> dict[str, Any]:
    """What the records themselves tell, where they agree."""
    limits, seeds = {record.ppl_limit for record in records}, {record.seed for record in records}
    facts: dict[str, Any] = {"ppl_limit": limits.pop()} if len(limits) == 1 else {}
    return facts | ({"seed": seeds.pop()} if len(seeds) == 1 else {})
