"""Many runs to one: no case twice, none missing unless that is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from collapse_tests.case_detail import CaseDetail
from collapse_tests.errors import ErrorKind, UsageError
from collapse_tests.records import Record, Verdict
from collapse_tests.report.merge_checks import check_alike
from collapse_tests.report.merge_gaps import gaps_of, refusal
from collapse_tests.report.merge_parts import Part, in_order, natural
from collapse_tests.sequence_record import SequenceRecord

__all__ = ["Merged", "merge"]

#: What happened to the machine and not to the model: it stands for nothing where something was measured.
_BLAMELESS = (ErrorKind.INFRASTRUCTURE, ErrorKind.USAGE)

#: Cases with two verdicts that are named.
_NAMED = 20

#: Settings that list what is tested.
_LISTS = ("editors", "models", "edits", "scenarios", "machines", "overrides")

_Outcome = TypeVar("_Outcome", Record, SequenceRecord)


@dataclass(frozen=True, slots=True)
class Merged:
    """One run made of many.

    Attributes:
        records, sequences: of all runs, each case once, in the natural order of their ids.
        details: of the records.
        environment: of the whole, with where it comes from under `merged`.
        notes: what to know of it, a sentence each.
        gaps: what is missing, likewise; empty where nothing is.
    """

    records: tuple[Record, ...]
    sequences: tuple[SequenceRecord, ...]
    details: tuple[CaseDetail, ...]
    environment: Mapping[str, Any]
    notes: tuple[str, ...]
    gaps: tuple[str, ...]


def merge(parts: Sequence[Part], *, incomplete: bool) -> Merged:
    """One run of many that belong together: the shards of a job, or runs without shards.

    Where two runs are of the same tests, such as a killed one and the one that resumed it, the record of the later one
    counts; an error of the infrastructure or the command line counts only where no run has anything better. Runs of
    different tests must agree on the verdict of a case that both have.

    Args:
        parts: one or more runs.
        incomplete: take what is there, though shards or cases are missing.

    Raises:
        UsageError: they do not belong together, contradict each other or are incomplete.
    """
    ordered = in_order(parts)
    notes = check_alike(ordered)
    gaps = gaps_of(ordered)
    if gaps and not incomplete:
        raise UsageError(refusal(gaps))
    records, contradictions = _united((part, record) for part in ordered for record in part.records)
    sequences, more = _united((part, sequence) for part in ordered for sequence in part.sequences)
    details = (part.details.get(record.case_id) for part, record in records)
    notes += [*contradictions, *more]
    said = tuple(gap.text for gap in gaps)
    return Merged(
        tuple(record for _, record in records),
        tuple(sequence for _, sequence in sequences),
        tuple(detail for detail in details if detail is not None),
        _environment(ordered, notes, said),
        tuple(notes),
        said,
    )


def _united(found: Iterable[tuple[Part, _Outcome]]) -> tuple[list[tuple[Part, _Outcome]], list[str]]:
    """One outcome of each case, in the natural order of ids, and what was contradictory."""
    kept: dict[str, tuple[Part, _Outcome]] = {}
    notes: list[str] = []
    for part, record in found:
        before = kept.get(record.case_id)
        if before is not None and before[0] is not part:
            if isinstance(record, Record) and isinstance(before[1], Record):
                _check_requests(before[0], before[1], part, record)
            if _is_blameless(record) and not _is_blameless(before[1]):
                continue
            if before[1].verdict is not record.verdict and not _is_blameless(before[1]):
                notes.append(_contradiction(*before, part, record))
        kept[record.case_id] = (part, record)
    if len(notes) > _NAMED:
        notes[_NAMED:] = [f"{len(notes) - _NAMED:,} more cases have two verdicts; the later one counts"]
    return [kept[case_id] for case_id in sorted(kept, key=natural)], notes


def _check_requests(one: Part, earlier: Record, other: Part, later: Record) -> None:
    if dict(earlier.request) != dict(later.request):
        raise UsageError(
            f"{later.case_id} is of other texts in {one.place} than in {other.place}; "
            "give the files of requests different names, and run one of them again"
        )


def _is_blameless(record: Record | SequenceRecord) -> bool:
    return record.verdict is Verdict.ERROR and record.error_kind in _BLAMELESS


def _contradiction(one: Part, earlier: _Outcome, other: Part, later: _Outcome) -> str:
    """What to say of two verdicts on one case.

    Raises:
        UsageError: the runs are not of the same tests, so that neither stands in for the other.
    """
    told = f"{later.case_id} is {earlier.verdict} in {one.place} and {later.verdict} in {other.place}"
    if one.selection is None or other.selection is None or one.selection.digest != other.selection.digest:
        raise UsageError(f"{told}; leave one of these runs out")
    return f"{told}; the later one counts"


def _environment(parts: Sequence[Part], notes: Sequence[str], gaps: Sequence[str]) -> dict[str, Any]:
    """The environment of the last run, with everything that differs between runs brought together."""
    last = parts[-1]
    together: dict[str, Any] = {name: _distinct(part.settings.get(name, ()) for part in parts) for name in _LISTS}
    facts = {name: value for name, value in last.environment.items() if name not in ("selection", "started", "merged")}
    digests = {part.selection.digest if part.selection is not None else None for part in parts}
    selection = last.selection if len(digests) == 1 else None
    if selection is not None:
        whole = replace(selection, shard=None, tests=selection.whole_tests, cases=selection.whole_cases)
        facts["selection"] = whole.to_dict()
    return facts | {
        "settings": {**last.settings, **together, "shard": None, "resume": None},
        "models": _digests(parts),
        "devices": dict(_devices(parts)),
        "merged": {"runs": [_origin(part) for part in parts], "gaps": list(gaps), "notes": list(notes)},
    }


def _distinct(lists: Iterable[Iterable[Any]]) -> list[Any]:
    """All items of all lists once, in order; they may be mappings."""
    found: list[Any] = []
    for items in lists:
        found += [item for item in items if item not in found]
    return found


def _digests(parts: Iterable[Part]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in parts:
        for model, digest in part.environment.get("models", {}).items():
            found[model] = digest or found.get(model, "")
    return found


def _devices(parts: Iterable[Part]) -> Iterator[tuple[str, Any]]:
    """By run and worker, as workers of the same name are others in every run."""
    for part in parts:
        for worker, facts in part.environment.get("devices", {}).items():
            yield f"{part.shard or part.place} {worker}", facts


def _origin(part: Part) -> dict[str, Any]:
    return {
        "run": part.place,
        "shard": None if part.shard is None else str(part.shard),
        "cases": len(part.ids),
        "started": part.environment.get("started"),
        "platform": part.environment.get("platform"),
    }
