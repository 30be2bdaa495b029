"""What a run was, beside its models, editors and requests: what has to be equal for outcomes to be comparable."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import PurePath, PureWindowsPath
from typing import Any

from collapse_tests.datasets.requests import NAMED_SETS
from collapse_tests.datasets.texts import load_texts
from collapse_tests.errors import CollapseError
from collapse_tests.plain_data import encode
from collapse_tests.settings import DEFAULT_PPL_TEXTS, Downstream, Settings

__all__ = [
    "SETS",
    "check_facts",
    "facts_of",
    "facts_of_settings",
    "facts_of_single_edits",
    "hyperparameters_of",
    "sentences_digest",
    "texts_digest_of",
]

#: Settings whose values are facts as they are.
_PLAIN = ("ppl_limit", "dtype", "matmul_precision", "seed")

#: Settings that say how tasks are measured and judged.
_OF_TASKS = ("tasks", "tasks_limit", "suspect_growth", "gate_on_drop")

#: Facts that are lists of sets.
SETS = ("edits", "scenarios")


def facts_of(settings: Mapping[str, Any], texts_digest: str | None = None) -> dict[str, Any]:
    """The facts of a run from its settings as plain data, such as an environment file holds.

    What the settings lack is not known and therefore no fact. Paths lose their directories, which differ from
    machine to machine; sentences are known by their digest.

    Args:
        settings: field of `Settings` → value.
        texts_digest: of the sentences ME-PPL was measured on, if known.
    """
    facts = {name: settings[name] for name in _PLAIN if name in settings}
    if "ppl_texts" in settings:
        facts["ppl_texts"] = _file_name(settings["ppl_texts"] or DEFAULT_PPL_TEXTS)
    if texts_digest is not None:
        facts["ppl_texts_digest"] = texts_digest
    if "downstream" in settings:
        # Tasks at the end of a sequence do not touch single edits.
        never = settings["downstream"] in (Downstream.NEVER, Downstream.FINAL)
        facts["downstream"] = str(Downstream.NEVER) if never else str(settings["downstream"])
        facts |= {} if never else {name: _plain(settings[name]) for name in _OF_TASKS if name in settings}
    if "edits" in settings:
        facts["edits"] = list(map(_set_name, settings["edits"]))
    if settings.get("scenarios"):
        facts["scenarios"] = list(map(_set_name, settings["scenarios"]))
        facts |= _tasks_of_scenarios(settings)
    return facts


def facts_of_settings(settings: Settings) -> dict[str, Any]:
    """The facts of a run that is about to be made.

    Raises:
        UsageError: its sentences cannot be read.
    """
    digest = sentences_digest(load_texts(settings.ppl_texts or DEFAULT_PPL_TEXTS))
    return facts_of(dataclasses.asdict(settings), digest)


def facts_of_single_edits(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run without those that only its scenarios depend on."""
    others = {"scenarios", "scenario_downstream"}
    if facts.get("downstream") == Downstream.NEVER:  # then tasks are those at the end of scenarios
        others.update(_OF_TASKS)
    return {name: value for name, value in facts.items() if name not in others}


def check_facts(facts: Mapping[str, Any]) -> None:
    """Refuse facts that are read from a file and cannot be those of a run, where more is done than compare them.

    Raises:
        ValueError: naming the fact.
    """
    limit = facts.get("ppl_limit", 1.0)
    if type(limit) not in (int, float) or not 0 < limit <= sys.float_info.max:
        raise ValueError(f"ppl_limit {limit!r} is no positive finite number")
    for name in SETS:
        sets = facts.get(name, [])
        if not isinstance(sets, list) or not all(isinstance(one, str) for one in sets):
            raise ValueError(f"{name} {sets!r} is no list of names")


def hyperparameters_of(overrides: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Editor → the hyper-parameters given by the user, as JSON data; a later one of a field wins.

    Args:
        overrides: fields of `Override`.
    """
    found: dict[str, dict[str, Any]] = {}
    for override in overrides:
        found.setdefault(override["editor"], {})[override["field"]] = _plain(override["value"])
    return found


def sentences_digest(sentences: Iterable[str]) -> str:
    """A short name, 16 hexadecimal digits, of sentences in their order."""
    return hashlib.blake2b(json.dumps(list(sentences)).encode("ascii"), digest_size=8).hexdigest()


def texts_digest_of(source: str | None) -> str | None:
    """The digest of a set or file of sentences; None where it cannot be read any more."""
    try:
        return sentences_digest(load_texts(source or DEFAULT_PPL_TEXTS))
    except CollapseError:
        return None


def _tasks_of_scenarios(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A fact of its own, as files of before scenarios were in them have that of single edits alone."""
    if "downstream" not in settings:
        return {}
    when = str(settings["downstream"])
    measured = when != Downstream.NEVER
    facts: dict[str, Any] = {"scenario_downstream": when}
    return facts | ({name: _plain(settings[name]) for name in _OF_TASKS if name in settings} if measured else {})


def _set_name(name: str) -> str:
    return name if name in NAMED_SETS else _file_name(name)


def _file_name(path: str) -> str:
    # Either kind of separator: the file may have been written on another system.
    return PureWindowsPath(path).name if "\\" in path else PurePath(path).name or path


def _plain(value: Any) -> Any:
    """`value` as JSON gives it back, so that what is read compares equal with what is made."""
    return encode(json.loads(json.dumps(value, default=str)))
