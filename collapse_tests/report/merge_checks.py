"""Whether runs belong together: what has to be the same, and what need not be but is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from collapse_tests.errors import UsageError
from collapse_tests.records import Record
from collapse_tests.report.merge_parts import Part, listed
from collapse_tests.sequence_record import SequenceRecord
from collapse_tests.settings import DEFAULT_PPL_TEXTS

__all__ = ["check_alike"]

_VERSION = "pytest-collapse"
_TEXTS = "ppl_texts_digest"

#: Settings that say where and how a run is made, and leave a record as it is but for rounding.
_MANNER = frozenset(
    {
        *("device", "device_map", "batch_size", "gpus_per_worker", "retries", "ray", "ray_cpus", "ray_wait"),
        *("reports_dir", "html", "gitlab_code_quality", "baseline", "baseline_tolerance", "update_baseline"),
        *("resume", "shard", "offline", "mirrors", "tasks_data"),
    }
)

#: Settings that say what is tested. Shards are known to agree by the digest of that; other runs may differ in it.
_WHAT = frozenset(
    {
        *("editors", "models", "edits", "edits_limit", "edits_sample", "riskiest", "scenarios", "machines"),
        *("skip_broken", "overrides"),
    }
)


def check_alike(parts: Sequence[Part]) -> list[str]:
    """Refuse runs that do not belong together; what differs without doing harm comes back, a sentence each.

    Args:
        parts: one or more runs.

    Raises:
        UsageError: versions of pytest-collapse, shards, settings, hyper-parameters or weights differ.
    """
    for part in parts[1:]:
        _check_version(parts[0], part)
        _check_shards(parts[0], part)
        _check_settings(parts[0], part)
    _check_hyperparameters(parts)
    _check_weights(parts)
    return [*_packages(parts), *_precisions(parts)]


def _check_version(one: Part, other: Part) -> None:
    mine, theirs = (part.environment.get(_VERSION) for part in (one, other))
    if mine != theirs:
        raise UsageError(
            f"{one.place} was made by pytest-collapse {mine} and {other.place} by {theirs}; "
            "run one of them again, so that both are of one version"
        )


def _check_shards(one: Part, other: Part) -> None:
    if (one.shard is None) != (other.shard is None):
        whole, part = (one, other) if one.shard is None else (other, one)
        raise UsageError(
            f"{part.place} is shard {part.shard} and {whole.place} is none; merge the shards of one job without others"
        )
    if one.shard is None or other.shard is None:
        return
    if one.shard.count != other.shard.count:
        raise UsageError(
            f"{one.place} is shard {one.shard} and {other.place} is shard {other.shard}; "
            "give shards of the same number only"
        )
    assert one.selection is not None
    assert other.selection is not None
    if one.selection.digest != other.selection.digest:
        counts = (one.selection.whole_tests, other.selection.whole_tests)
        what = f"of {counts[0]:,} tests and of {counts[1]:,}" if counts[0] != counts[1] else "in ids or in requests"
        raise UsageError(
            f"{one.place} and {other.place} are shards of different tests, {what}; give the shards of one job, and run "
            "each with the same options, files and -k"
        )


def _check_settings(one: Part, other: Part) -> None:
    for name in sorted(one.settings.keys() | other.settings.keys()):
        if name in _MANNER or name in _WHAT:
            continue
        mine, theirs = (_setting(name, part) for part in (one, other))
        if mine != theirs:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} was {_shown(mine)} in {one.place} and {_shown(theirs)} in {other.place}; "
                "merge runs of the same settings, or show them side by side with collapse-report compare"
            )


def _setting(name: str, part: Part) -> Any:
    value = part.settings.get(name)
    if name == "ppl_texts":  # known by what they hold, as directories differ from machine to machine
        return part.environment.get(_TEXTS) or PurePath(value or DEFAULT_PPL_TEXTS).name
    return value


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _check_hyperparameters(parts: Iterable[Part]) -> None:
    """Of every editor, in all runs that have it."""
    known: dict[str, tuple[Part, dict[str, Any]]] = {}
    for part in parts:
        for editor in part.settings.get("editors", ()):
            mine = _overrides(part.settings, editor)
            first, theirs = known.setdefault(editor, (part, mine))
            for name in sorted(mine.keys() | theirs.keys()):
                if mine.get(name) != theirs.get(name) or (name in mine) != (name in theirs):
                    raise UsageError(
                        f"{editor}.{name} was {theirs.get(name, 'left as it is')} in {first.place} and "
                        f"{mine.get(name, 'left as it is')} in {part.place}; merge runs of the same hyper-parameters"
                    )


def _overrides(settings: Mapping[str, Any], editor: str) -> dict[str, Any]:
    return {one["field"]: one["value"] for one in settings.get("overrides", ()) if one["editor"] == editor}


def _check_weights(parts: Iterable[Part]) -> None:
    """Errors of before a model was loaded have no digest."""
    known: dict[str, tuple[Part, str]] = {}
    for part in parts:
        records: list[Record | SequenceRecord] = [*part.records, *part.sequences]
        for record in records:
            if record.model_digest:
                first, digest = known.setdefault(record.model, (part, record.model_digest))
                if digest != record.model_digest:
                    raise UsageError(
                        f"{first.place} and {part.place} are of different weights of {record.model} "
                        f"({digest[:12]} and {record.model_digest[:12]}); run the shards with the same model"
                    )


def _packages(parts: Sequence[Part]) -> list[str]:
    names = dict.fromkeys(name for part in parts for name in part.environment.get("packages", {}))
    found = [_various("python", [(part, part.environment.get("python")) for part in parts])]
    found += [
        _various(name, [(part, part.environment.get("packages", {}).get(name)) for part in parts]) for name in names
    ]
    return [note for note in found if note is not None]


def _precisions(parts: Sequence[Part]) -> list[str]:
    """How float32 products were rounded in the end, where the setting left that to the device."""
    found = []
    for part in parts:
        devices = part.environment.get("devices", {})
        rounded = sorted({str(facts.get("matmul_precision")) for facts in devices.values()})
        found += [(part, " and ".join(rounded))] if rounded else []
    note = _various("matrix products", found)
    return [] if note is None else [note]


def _various(name: str, values: Sequence[tuple[Part, object]]) -> str | None:
    """A sentence where a fact is not the same in all runs."""
    places: dict[str, list[str]] = {}
    for part, value in values:
        places.setdefault("missing" if value is None else str(value), []).append(part.place)
    if len(places) < 2:
        return None
    return f"{name}: " + "; ".join(f"{value} in {listed(where)}" for value, where in places.items())
