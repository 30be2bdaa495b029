"""The command line and the ini file → one frozen `Settings`."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.errors import UsageError
from collapse_tests.network import go_offline, is_offline, use_mirrors
from collapse_tests.option_table import EDITOR, FLAGS, OPTIONS, Option
from collapse_tests.option_values import AUTO, DEVICE_MAPS, DTYPES
from collapse_tests.override_values import read_config_file
from collapse_tests.settings import (
    DEFAULT_BASELINE_TOLERANCE,
    DEFAULT_EDITS,
    DEFAULT_MACHINE_BUDGET,
    DEFAULT_MACHINE_EXAMPLES,
    DEFAULT_MACHINE_STEPS,
    DEFAULT_MODEL,
    DEFAULT_PPL_LIMIT,
    DEFAULT_RAY_WAIT,
    DEFAULT_RETRIES,
    DEFAULT_SUSPECT_GROWTH,
    DEFAULT_TASKS,
    Downstream,
    Override,
    Settings,
)
from collapse_tests.settings_checks import check_settings

__all__ = ["add_options", "early_values", "go_offline_early", "settings_from"]

_GROUP = "collapse"

#: Options that name what a run writes, which need not exist.
_OUTPUTS = ("reports-dir", "gitlab-code-quality", "baseline")

#: Scalars of every type, so that `collapse_seed = 7` and `= "7"` both do in a TOML file; older pytest has no unions.
_INI_SCALAR: Any = str | int | float if pytest.version_tuple >= (9, 2) else "string"


def add_options(parser: pytest.Parser) -> None:
    """Register every option, on the command line and in the ini file."""
    group = parser.getgroup(_GROUP)
    for option in OPTIONS:
        action = "append" if option.repeats else "store"
        _add(
            group,
            option.flag,
            dest=option.dest,
            action=action,
            type=_for_argparse(option.parse),
            metavar=option.metavar,
            default=None,
            help=option.help,
        )
        if option.ini:
            kind: Any = "linelist" if option.repeats else _INI_SCALAR
            parser.addini(option.dest, f"default of {option.flag}", type=kind, default=None)
    for flag, dest, value, text in FLAGS:
        _add(group, flag, dest=dest, action="store_const", const=value, default=None, help=text)
    for flag in ("fail-ineffective", "gate-on-drop", "full-curve", "skip-broken", "offline"):
        dest = f"collapse_{flag.replace('-', '_')}"
        parser.addini(dest, f"default of --{flag}", type="bool", default=None)
    parser.addini("collapse_html", "whether to write report.html, if not --no-html", type="bool", default=None)


def go_offline_early(config: pytest.Config) -> None:
    """Go offline if the run is to be, before the project's own files can import a framework, which asks only then.

    Args:
        config: before options are parsed for good; what is wrong with them is told later.
    """
    given = config.known_args_namespace
    offline = getattr(given, "collapse_offline", None)
    with contextlib.suppress(ValueError, pytest.UsageError):
        editors = getattr(given, EDITOR.dest, None) or config.getini(EDITOR.dest)
        if editors and _or(config.getini("collapse_offline") if offline is None else offline, is_offline()):
            go_offline()


def early_values(config: pytest.Config, *names: str) -> tuple[Any, ...] | None:
    """Values of some options that are needed before the settings are read; None where no editor is gated.

    Args:
        config: of the run, with its options parsed.
        names: of options, without dashes.

    Raises:
        pytest.UsageError: an ini value is wrong.
    """
    if not _value(config, EDITOR):
        return None
    by_name = {option.name: option for option in OPTIONS}
    return tuple(_value(config, by_name[name]) for name in names)


def settings_from(config: pytest.Config) -> Settings | None:
    """The validated settings, or None if no editor was asked for: then the gate has nothing to do.

    The command line wins over the ini file. Request and text files are read once to find their faults before any
    model is loaded; published sets are fetched for that, unless the run is offline, which is then in the environment.

    Raises:
        pytest.UsageError: an ini value is wrong.
        UsageError: an editor or model is unknown, a file unusable.
        InfrastructureError: a published set could not be fetched.
    """
    editors = _unique(_value(config, EDITOR))
    if not editors:
        return None
    values = {option.dest: _value(config, option) for option in OPTIONS}
    reports_dir = values["collapse_reports_dir"]
    batch_size = values["collapse_batch_size"]
    tasks_data = values["collapse_tasks_data"]
    resume = values["collapse_resume"]
    code_quality = values["collapse_gitlab_code_quality"]
    baseline = values["collapse_baseline"]
    settings = Settings(
        editors=editors,
        models=_unique(values["collapse_model"]) or (DEFAULT_MODEL,),
        edits=_edits(config, values),
        edits_limit=values["collapse_edits_limit"],
        edits_sample=values["collapse_edits_sample"],
        riskiest=values["collapse_riskiest"],
        shard=values["collapse_shard"],
        ppl_limit=_or(values["collapse_ppl_limit"], DEFAULT_PPL_LIMIT),
        ppl_texts=values["collapse_ppl_texts"],
        tasks=_unique(values["collapse_tasks"]) or (DEFAULT_TASKS,),
        tasks_limit=values["collapse_tasks_limit"],
        tasks_data=None if tasks_data is None else Path(tasks_data),
        downstream=_or(values["collapse_downstream"], Downstream.AUTO),
        suspect_growth=_or(values["collapse_suspect_growth"], DEFAULT_SUSPECT_GROWTH),
        gate_on_drop=_or(_flag(config, "collapse_gate_on_drop"), False),
        scenarios=_unique(values["collapse_scenario"]),
        steps=values["collapse_steps"],
        full_curve=_or(_flag(config, "collapse_full_curve"), False),
        machines=_unique(values["collapse_machine"]),
        machine_steps=_or(values["collapse_machine_steps"], DEFAULT_MACHINE_STEPS),
        machine_examples=_or(values["collapse_machine_examples"], DEFAULT_MACHINE_EXAMPLES),
        machine_budget=_or(values["collapse_machine_budget"], DEFAULT_MACHINE_BUDGET),
        device=_or(values["collapse_device"], AUTO),
        device_map=_or(values["collapse_device_map"], DEVICE_MAPS[0]),
        gpus_per_worker=values["collapse_gpus_per_worker"],
        retries=_or(values["collapse_retries"], DEFAULT_RETRIES),
        dtype=_or(values["collapse_dtype"], DTYPES[0]),
        matmul_precision=_or(values["collapse_matmul_precision"], AUTO),
        seed=_or(values["collapse_seed"], 0),
        batch_size=None if batch_size == AUTO else batch_size,
        fail_ineffective=_or(_flag(config, "collapse_fail_ineffective"), False),
        skip_broken=_or(_flag(config, "collapse_skip_broken"), False),
        html=_or(_flag(config, "collapse_html"), True),
        offline=_or(_flag(config, "collapse_offline"), is_offline()),
        mirrors=_unique(values["collapse_mirror"]),
        reports_dir=Path("reports" if reports_dir is None else reports_dir),
        resume=None if resume is None else Path(resume),
        gitlab_code_quality=None if code_quality is None else Path(code_quality),
        baseline=None if baseline is None else Path(baseline),
        ray=values["collapse_ray"],
        ray_cpus=values["collapse_ray_cpus"],
        ray_wait=_or(values["collapse_ray_wait"], DEFAULT_RAY_WAIT),
        baseline_tolerance=_or(values["collapse_baseline_tolerance"], DEFAULT_BASELINE_TOLERANCE),
        update_baseline=bool(config.getoption("collapse_update_baseline")),
        overrides=_overrides(values, editors),
    )
    if settings.offline:
        go_offline()
    if settings.mirrors:
        use_mirrors(settings.mirrors)
    check_settings(settings)
    if settings.overrides and not config.option.collectonly:
        from collapse_tests.editors.registry import check_hyperparameters

        check_hyperparameters(settings)  # imports the editors concerned, and so frameworks
    return settings


def _edits(config: pytest.Config, values: dict[str, Any]) -> tuple[str, ...]:
    """The request sets; none where only sequences are asked for, as the ini file's are for runs that name nothing."""
    if (values["collapse_scenario"] or values["collapse_machine"]) and not config.getoption("collapse_edits"):
        return ()
    return _unique(values["collapse_edits"]) or (DEFAULT_EDITS,)


def _overrides(values: dict[str, Any], editors: tuple[str, ...]) -> tuple[Override, ...]:
    """Those in files before those on the command line, which therefore win."""
    files = values["collapse_editor_config"] or ()
    return (
        *(override for file in files for override in read_config_file(file, editors)),
        *(values["collapse_set"] or ()),
    )


def _add(group: Any, flag: str, **attributes: Any) -> None:
    """Register one option; where another plugin took its name, under a longer one rather than not at all."""
    try:
        group.addoption(flag, **attributes)
    except (ValueError, argparse.ArgumentError):
        group.addoption(f"--collapse-{flag.removeprefix('--')}", **attributes)


def _for_argparse(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _value(config: pytest.Config, option: Option) -> Any:
    """What the command line says, else the ini file, else None; repeated values are joined into one list."""
    given = config.getoption(option.dest)
    if given is None and option.ini:
        given = _ini_value(config, option)
    if option.repeats and given is not None:
        return [value for values in given for value in values]
    return given


def _ini_value(config: pytest.Config, option: Option) -> Any:
    raw = config.getini(option.dest)
    if raw is None:
        return None
    try:
        if option.repeats:
            return [[_from_ini_file(config, option, name) for name in option.parse(line)] for line in raw]
        value = option.parse(str(raw))
    except UsageError as error:
        raise pytest.UsageError(f"ini option {option.dest}: {error}") from None
    return _from_ini_file(config, option, value)


def _from_ini_file(config: pytest.Config, option: Option, value: Any) -> Any:
    """`value`, as a path beside the ini file if that is what it names: a run may start anywhere below it."""
    if not option.paths or config.inipath is None:
        return value
    beside = str(config.inipath.parent / value)
    if option.name in _OUTPUTS:
        return beside
    # A bare word is a known name, whatever lies about.
    return beside if set(value) & set("/\\.") and os.path.exists(beside) else value  # noqa: PTH110


def _flag(config: pytest.Config, dest: str) -> bool | None:
    given: bool | None = config.getoption(dest)
    if given is not None:
        return given
    try:
        from_ini: bool | None = config.getini(dest)
    except ValueError as error:  # newer pytest raises its own UsageError
        raise pytest.UsageError(f"ini option {dest}: {error}; give true or false") from None
    return from_ini


def _unique(values: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values or ()))


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
