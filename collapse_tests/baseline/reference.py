"""The baseline that a run is judged by, checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_tests.baseline.differences import Difference, Scope, setting_differences
from collapse_tests.baseline.facts import facts_of_settings
from collapse_tests.baseline.file import read_baseline
from collapse_tests.baseline.snapshot import Snapshot
from collapse_tests.errors import UsageError
from collapse_tests.settings import Settings

__all__ = ["Reference", "reference_for"]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a run is judged by.

    Attributes:
        path: of the baseline's file.
        facts: of the run.
        kept: what the file holds; None where there is none yet.
        barriers: settings under which outcomes cannot be compared with those of the file. Only a run that makes
            the file anew may have any.
    """

    path: Path
    facts: Mapping[str, Any]
    kept: Snapshot | None
    barriers: tuple[Difference, ...] = ()

    @property
    def baseline(self) -> Snapshot | None:
        """What outcomes are compared with; None where there is nothing, or nothing that can be compared."""
        return None if self.barriers else self.kept


def reference_for(settings: Settings) -> Reference | None:
    """The baseline of a run, or None for a run without one, or without anything that one could hold.

    Raises:
        UsageError: there is no such file, it is damaged, or its outcomes cannot be compared with those of this run.
    """
    if settings.baseline is None:
        if settings.update_baseline:
            raise UsageError("--update-baseline has no file to write; name it with --baseline FILE")
        return None
    if not settings.edits and not settings.scenarios:
        if settings.update_baseline:
            raise UsageError(
                "--update-baseline keeps single edits and scenarios and this run makes none; ask for some with --edits "
                "or --scenario"
            )
        return None
    kept = _read(settings.baseline, may_be_missing=settings.update_baseline)
    if kept is not None and not kept.scenarios and not settings.edits and not settings.update_baseline:
        return None
    facts = facts_of_settings(settings)
    found = [] if kept is None else setting_differences(kept.facts, facts)
    barriers = tuple(difference for difference in found if difference.scope in (Scope.RULES, Scope.MODEL))
    if barriers and not settings.update_baseline:
        named = "; ".join(f"--{difference}" for difference in barriers)
        raise UsageError(
            f"--baseline {settings.baseline} cannot be compared with this run: {named}; run under the settings of the "
            "baseline, or make it anew under these with --update-baseline"
        )
    return Reference(settings.baseline, facts, kept, barriers)


def _read(path: Path, *, may_be_missing: bool) -> Snapshot | None:
    if path.is_dir():
        raise UsageError(f"--baseline {path} is a directory; give a file, such as {path / 'baseline.json'}")
    if path.exists():
        return read_baseline(path)
    if not may_be_missing:
        raise UsageError(f"--baseline {path}: there is no such file; make it with --update-baseline")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise UsageError(f"--baseline {path}: {parent} is a file; give a file in a directory, new or not")
    return None
