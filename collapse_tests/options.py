"""The command line and the ini file → one frozen `Settings`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from collapse_tests.errors import UsageError
from collapse_tests.option_values import (
    AUTO,
    DTYPES,
    MATMUL_PRECISIONS,
    parse_batch_size,
    parse_config_file,
    parse_device,
    parse_dtype,
    parse_matmul_precision,
    parse_names,
    parse_overrides,
    parse_path,
    parse_positive_integer,
    parse_ppl_limit,
    parse_seed,
    read_config_file,
)
from collapse_tests.settings import (
    DEFAULT_EDITS,
    DEFAULT_MODEL,
    DEFAULT_PPL_LIMIT,
    DEFAULT_PPL_TEXTS,
    Override,
    Settings,
)

__all__ = ["add_options", "settings_from"]

_GROUP = "collapse"

#: Scalars of every type, so that `collapse_seed = 7` and `= "7"` both do in a TOML file; older pytest has no unions.
_INI_SCALAR: Any = str | int | float if pytest.version_tuple >= (9, 2) else "string"


@dataclass(frozen=True, slots=True)
class _Option:
    """One option that takes a value.

    Attributes:
        name: without dashes; `ppl-limit` is `--ppl-limit` and the ini option `collapse_ppl_limit`.
        help: for `pytest --help`.
        parse: text → value, or a list of values if it repeats; raises `UsageError` saying what is wrong and what
            to give.
        metavar: for `pytest --help`.
        repeats: whether it collects the values of several uses.
        ini: whether it is an ini option too.
        paths: whether it may name a file, so that one from the ini file is relative to that file.
    """

    name: str
    help: str
    parse: Callable[[str], Any]
    metavar: str
    repeats: bool = False
    ini: bool = True
    paths: bool = False

    @property
    def flag(self) -> str:
        """As on the command line."""
        return f"--{self.name}"

    @property
    def dest(self) -> str:
        """Its name in the parsed options and the ini file, prefixed so that no other plugin's is the same."""
        return f"collapse_{self.name.replace('-', '_')}"


def add_options(parser: pytest.Parser) -> None:
    """Register every option, on the command line and in the ini file."""
    group = parser.getgroup(_GROUP)
    for option in _OPTIONS:
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
    for flag, dest, value, text in _FLAGS:
        _add(group, flag, dest=dest, action="store_const", const=value, default=None, help=text)
    parser.addini("collapse_fail_ineffective", "default of --fail-ineffective", type="bool", default=None)


def settings_from(config: pytest.Config) -> Settings | None:
    """The validated settings, or None if no editor was asked for: then the gate has nothing to do.

    The command line wins over the ini file. Request and text files are read once to find their faults before any
    model is loaded.

    Raises:
        pytest.UsageError: an ini value is wrong.
        UsageError: an editor or model is unknown, a file unusable.
    """
    editors = _unique(_value(config, _EDITOR))
    if not editors:
        return None
    values = {option.dest: _value(config, option) for option in _OPTIONS}
    reports_dir = values["collapse_reports_dir"]
    batch_size = values["collapse_batch_size"]
    settings = Settings(
        editors=editors,
        models=_unique(values["collapse_model"]) or (DEFAULT_MODEL,),
        edits=_unique(values["collapse_edits"]) or (DEFAULT_EDITS,),
        edits_limit=values["collapse_edits_limit"],
        edits_sample=values["collapse_edits_sample"],
        ppl_limit=_or(values["collapse_ppl_limit"], DEFAULT_PPL_LIMIT),
        ppl_texts=_or(values["collapse_ppl_texts"], DEFAULT_PPL_TEXTS),
        device=_or(values["collapse_device"], AUTO),
        dtype=_or(values["collapse_dtype"], DTYPES[0]),
        matmul_precision=_or(values["collapse_matmul_precision"], AUTO),
        seed=_or(values["collapse_seed"], 0),
        batch_size=None if batch_size == AUTO else batch_size,
        fail_ineffective=_or(_flag(config, "collapse_fail_ineffective"), False),
        reports_dir=Path("reports" if reports_dir is None else reports_dir),
        overrides=_overrides(values, editors),
    )
    _check_sources(settings)
    if settings.overrides and not config.option.collectonly:
        from collapse_tests.editors.registry import check_hyperparameters

        check_hyperparameters(settings)  # imports the editors concerned, and so frameworks
    return settings


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


def _value(config: pytest.Config, option: _Option) -> Any:
    """What the command line says, else the ini file, else None; repeated values are joined into one list."""
    given = config.getoption(option.dest)
    if given is None and option.ini:
        given = _ini_value(config, option)
    if option.repeats and given is not None:
        return [value for values in given for value in values]
    return given


def _ini_value(config: pytest.Config, option: _Option) -> Any:
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


def _from_ini_file(config: pytest.Config, option: _Option, value: Any) -> Any:
    """`value`, as a path beside the ini file if that is what it names: a run may start anywhere below it."""
    if not option.paths or config.inipath is None:
        return value
    beside = str(config.inipath.parent / value)
    if option.name == "reports-dir":
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


def _check_sources(settings: Settings) -> None:
    """Every name and file that a run would else stumble over after minutes of loading."""
    from collapse_tests.datasets.requests import load_requests
    from collapse_tests.datasets.texts import load_texts
    from collapse_tests.editors.registry import check_editor
    from collapse_tests.models.specs import resolve_spec

    for editor in settings.editors:
        check_editor(editor)
    for override in settings.overrides:
        if override.editor not in settings.editors:
            raise UsageError(
                f"{override.place}: no editor {override.editor!r} in this run; it has {', '.join(settings.editors)}"
            )
    for model in settings.models:
        resolve_spec(model)
    for source in settings.edits:
        load_requests(source)
    load_texts(settings.ppl_texts)
    if settings.reports_dir.exists() and not settings.reports_dir.is_dir():
        raise UsageError(f"--reports-dir {str(settings.reports_dir)!r} is a file; give a directory, new or not")


def _unique(values: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values or ()))


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


_EDITOR = _Option(
    "editor",
    "Gate this editor: rome, r-rome, c-rome, memit, emmet, alphaedit, ft, ft-unconstrained, mend, null, noise, "
    "easyedit:ALGORITHM, an entry point, or package.module:attribute. "
    "Repeat, or separate by commas, for several. Without it the gate is off.",
    parse_names,
    "NAME",
    repeats=True,
)

_OPTIONS = (
    _EDITOR,
    _Option(
        "model",
        "Edit this model: smollm2-135m, gpt2-xl, gpt-j-6b, llama2-7b, a local directory, or a hub id org/name. "
        f"Repeats like --editor. Default: {DEFAULT_MODEL}.",
        parse_names,
        "NAME",
        repeats=True,
        paths=True,
    ),
    _Option(
        "edits",
        "Write these facts: smoke, hard, normal, or a JSON or JSONL file in EasyEdit's or COUNTERFACT's layout. "
        f"Repeats like --editor. Default: {DEFAULT_EDITS}, which is 8 hard and 8 normal ones.",
        parse_names,
        "SET",
        repeats=True,
        paths=True,
    ),
    _Option("edits-limit", "Take at most the first N of each set.", parse_positive_integer, "N", ini=False),
    _Option("edits-sample", "Draw N of each set, by --seed, before any limit.", parse_positive_integer, "N", ini=False),
    _Option(
        "ppl-limit",
        f"Call a model collapsed at this ME-PPL or above. Default: {DEFAULT_PPL_LIMIT:g}.",
        parse_ppl_limit,
        "X",
    ),
    _Option(
        "ppl-texts",
        "Measure ME-PPL on these sentences: a JSON list, or a text file of one sentence a line. "
        "Default: the 50 that come with the plugin.",
        parse_path,
        "FILE",
        paths=True,
    ),
    _Option("device", "auto, cpu, cuda or cuda:N. Default: auto.", parse_device, "DEVICE"),
    _Option("dtype", f"{', '.join(DTYPES[:-1])} or {DTYPES[-1]}. Default: {DTYPES[0]}.", parse_dtype, "DTYPE"),
    _Option(
        "matmul-precision",
        f"Round the factors of float32 matrix products to {', '.join(MATMUL_PRECISIONS[1:-1])} or "
        f"{MATMUL_PRECISIONS[-1]}. Default: {AUTO}, which is tf32 on a GPU, and on a CPU bfloat16 if it has "
        "instructions for it.",
        parse_matmul_precision,
        "TYPE",
    ),
    _Option("seed", "Seeds the sample, the context templates and every editor. Default: 0.", parse_seed, "N"),
    _Option(
        "batch-size",
        "Edit this many requests together; auto fits the device. Default: auto.",
        parse_batch_size,
        "N",
    ),
    _Option("reports-dir", "Write each run's records below this. Default: reports.", parse_path, "DIR", paths=True),
    _Option(
        "editor-config",
        "Take hyper-parameters from a YAML file of one 'field: value' a line; --set wins over it. "
        "EDITOR= says whose they are, where several editors run. Repeats.",
        parse_config_file,
        "[EDITOR=]FILE",
        repeats=True,
        ini=False,
    ),
    _Option(
        "set",
        "Set a hyper-parameter, as in --set rome.v_lr=0.5; the value is YAML. Repeats.",
        parse_overrides,
        "EDITOR.FIELD=VALUE",
        repeats=True,
        ini=False,
    ),
)

_FLAGS = (
    ("--tf32", "collapse_matmul_precision", "tf32", "Short for --matmul-precision tf32."),
    ("--no-tf32", "collapse_matmul_precision", "float32", "Short for --matmul-precision float32."),
    ("--fail-ineffective", "collapse_fail_ineffective", True, "Fail a case whose edit does not take, too."),
)
