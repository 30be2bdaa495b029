"""The command line that runs one case or sequence again."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from collections.abc import Iterable

from collapse_tests.cases import Case
from collapse_tests.sequence_record import SequenceKind
from collapse_tests.settings import Settings
from collapse_tests.yaml_values import yaml_dumper

__all__ = ["rerun_command", "sequence_rerun_command"]

#: Settings that are options of the same name with a value.
_VALUED = (
    "ppl_limit",
    "ppl_texts",
    "tasks_limit",
    "tasks_data",
    "downstream",
    "suspect_growth",
    "device",
    "device_map",
    "dtype",
    "matmul_precision",
    "seed",
    "batch_size",
)

#: The same, where single edits, scenarios or searches are run.
_OF_EDITS = ("edits_limit", "edits_sample")
_OF_SCENARIOS = ("steps",)
_OF_MACHINES = ("machine_steps", "machine_examples", "machine_budget")

#: Settings that are options without one.
_FLAGS = ("gate_on_drop", "fail_ineffective", "skip_broken", "offline")

#: What pytest's `-k` takes as one word.
_KEYWORD = re.compile(r"[\w:+\-.\[\]\\/]+")


def rerun_command(case: Case, settings: Settings) -> str:
    """A `pytest` command that runs just this case, with every option that is not the default."""
    words = ["pytest", "--editor", case.editor, "--model", case.model, "--edits", ",".join(settings.edits)]
    words += _options(settings, case.editor, (*_OF_EDITS, *_VALUED))
    # Alone in its run, the second model or editor of a name loses the suffix that told it from the first.
    exact = case.edit_id if "~" in case.group else f"[{case.id}]"
    words += ["-k", " and ".join(_KEYWORD.findall(exact))]
    return shlex.join(words)


def sequence_rerun_command(kind: SequenceKind, source: str, settings: Settings, *, model: str, editor: str) -> str:
    """A `pytest` command that runs just one scenario or search, with every option that is not the default.

    Args:
        kind: of the test.
        source: set or file of its requests.
        settings: of the run.
        model: as in the settings.
        editor: likewise.
    """
    scenario = kind is SequenceKind.SCENARIO
    words = ["pytest", "--editor", editor, "--model", model, "--scenario" if scenario else "--machine", source]
    words += ["--full-curve"] if scenario and settings.full_curve else []
    words += _options(settings, editor, (*(_OF_SCENARIOS if scenario else _OF_MACHINES), *_VALUED))
    return shlex.join(words)


def _options(settings: Settings, editor: str, valued: Iterable[str]) -> list[str]:
    """Every option that is not the default."""
    words = []
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    for name in valued:
        value = getattr(settings, name)
        if value != defaults[name]:
            words += [f"--{name.replace('_', '-')}", _text(value)]
    words += ["--tasks", ",".join(settings.tasks)] if settings.tasks != defaults["tasks"] else []
    words += [f"--{flag.replace('_', '-')}" for flag in _FLAGS if getattr(settings, flag)]
    for override in settings.overrides:  # those in files too: a file may change or be elsewhere
        if override.editor == editor:  # others are of no use in a run without their editor
            words += ["--set", f"{override.editor}.{override.field}={_as_yaml(override.value)}"]
    return words


def _text(value: object) -> str:
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _as_yaml(value: object) -> str:
    """One line of YAML, which is how `--set` reads a value."""
    import yaml

    text: str = yaml.dump(value, Dumper=yaml_dumper(), default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()
