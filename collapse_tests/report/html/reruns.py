"""The command that runs one case again, from what the environment of its run says of the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collapse_tests.cases import Case
from collapse_tests.edit_request import EditRequest
from collapse_tests.records import Record
from collapse_tests.rerun import rerun_command
from collapse_tests.settings import Downstream, Override, Settings

__all__ = ["Reruns"]

_PATHS = ("tasks_data", "reports_dir")


class Reruns:
    """Commands for the cases of one run.

    Args:
        environment: of the run; where its settings are missing or another version's there are no commands.
    """

    def __init__(self, environment: Mapping[str, Any]) -> None:
        try:
            self._settings: Settings | None = _settings(environment["settings"])
        except (AttributeError, KeyError, TypeError, ValueError):
            self._settings = None

    def of(self, record: Record) -> str | None:
        """A line for a shell, or None."""
        if self._settings is None:
            return None
        group = record.case_id.removesuffix(f"-{record.edit_id}")
        # Only ids matter to the command, so the request need not be a valid one any more.
        case = Case(record.model, record.editor, record.edit_id, EditRequest("?", "?", "?"), group)
        try:
            return rerun_command(case, self._settings)
        except (TypeError, ValueError):  # values that no version of the settings has
            return None


def _settings(data: Mapping[str, Any]) -> Settings:
    """The inverse of how an environment holds settings; what this version does not know is left out."""
    known = {field.name for field in dataclasses.fields(Settings)}
    values = {name: _value(name, value) for name, value in data.items() if name in known}
    return Settings(**values)


def _value(name: str, value: Any) -> Any:
    if name == "overrides":
        return tuple(Override(**one) for one in value)
    if name == "downstream":
        return Downstream(value)
    if name == "shard":
        return None  # a part of all tests, where a command is for one
    if name in _PATHS:
        return None if value is None else Path(value)
    if name in ("ppl_limit", "suspect_growth", "machine_budget"):
        return float(value)
    return tuple(value) if isinstance(value, list) else value
