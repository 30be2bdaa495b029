"""What of a job no run has: whole shards, or cases of a run that did not come to its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from collapse_tests.report.merge_parts import NAMED, Part, listed
from collapse_tests.shards import Shard

__all__ = ["Gap", "gaps_of", "refusal"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is missing, and how to come by it."""

    text: str
    remedy: str


def gaps_of(parts: Sequence[Part]) -> list[Gap]:
    """Every shard that no run is of, and every run whose cases neither it nor one beside it has.

    Args:
        parts: runs that belong together: all of them shards of one job, or none.
    """
    if parts and parts[0].shard is not None:
        by_shard: dict[Shard, list[Part]] = {}
        for part in parts:
            assert part.shard is not None
            by_shard.setdefault(part.shard, []).append(part)
        return [*_missing(by_shard), *_unfinished_shards(by_shard)]
    return list(_unfinished_runs(parts))


def refusal(gaps: Sequence[Gap]) -> str:
    """One message about all gaps, with what to do."""
    remedies = ", ".join(dict.fromkeys(gap.remedy for gap in gaps))
    return f"{listed([gap.text for gap in gaps])}; {remedies}, or merge what is there with --incomplete"


def _missing(found: dict[Shard, list[Part]]) -> Iterator[Gap]:
    count = next(iter(found)).count
    missing = count - len(found)
    if missing == 0:
        return
    absent = (Shard(index, count) for index in range(1, count + 1) if Shard(index, count) not in found)
    told = listed([str(shard) for shard in islice(absent, NAMED)], missing)
    one = missing == 1
    yield Gap(f"shard{'' if one else 's'} {told} {'is' if one else 'are'} missing", "give the runs of all shards")


def _unfinished_shards(found: dict[Shard, list[Part]]) -> Iterator[Gap]:
    for shard, parts in sorted(found.items(), key=lambda item: item[0].index):
        have = len(set().union(*(part.ids for part in parts)))
        selection = parts[-1].selection
        assert selection is not None
        if have < selection.cases:
            where = listed([part.place for part in parts])
            yield Gap(
                f"shard {shard} has {have:,} of its {selection.cases:,} cases ({where})",
                f"finish it with --shard {shard} --resume {parts[-1].place}",
            )


def _unfinished_runs(parts: Sequence[Part]) -> Iterator[Gap]:
    """Which cases a run lacks is not known, but how many: all runs of its models and editors must have as many."""
    for part in parts:
        merged = part.environment.get("merged", {})
        if part.selection is None:
            if merged.get("gaps"):
                yield Gap(f"{part.place} was itself merged of what was there", "merge its runs again with the missing")
            continue
        have = _cases_of(parts, part.settings.get("models", ()), part.settings.get("editors", ()))
        if have < part.selection.cases:
            yield Gap(
                f"{part.place} has {have:,} of its {part.selection.cases:,} cases",
                f"finish it with --resume {part.place}",
            )


def _cases_of(parts: Iterable[Part], models: Iterable[str], editors: Iterable[str]) -> int:
    """Cases and sequences of these models and editors, each counted once."""
    pairs = {(model, editor) for model in models for editor in editors}
    cases = {one.case_id for part in parts for one in part.records if (one.model, one.editor) in pairs}
    sequences = {one.case_id for part in parts for one in part.sequences if (one.model, one.editor) in pairs}
    return len(cases) + len(sequences)
