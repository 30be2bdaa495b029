"""Editor names to editors, resolved late: names are checked without importing any framework."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from collapse_tests.editors.easyedit.algorithms import algorithm_of, is_easyedit_name
from collapse_tests.editors.easyedit.installation import find_installation
from collapse_tests.errors import UsageError
from collapse_tests.settings import Override, Settings

if TYPE_CHECKING:
    from collapse_tests.editors.hparams import Hyperparameters
    from collapse_tests.editors.protocol import Editor

__all__ = ["ENTRY_POINT_GROUP", "check_editor", "check_hyperparameters", "create_editor", "editor_names"]

ENTRY_POINT_GROUP = "collapse_tests.editors"


@dataclass(frozen=True, slots=True)
class _Native:
    """Where a native editor is found.

    Attributes:
        module: its module, below this package.
        editor: class in it, made from (name, hyper-parameters).
        schema: class of its hyper-parameters.
        method: folder of its YAML files under `hparams/`.
        preset: hyper-parameters that make it this one of several editors of its class.
    """

    module: str
    editor: str
    schema: str
    method: str
    preset: Mapping[str, object] = field(default_factory=dict)


def _rome(keys: str) -> _Native:
    return _Native("rome", "Rome", "RomeHyperparameters", "rome", {"keys": keys})


_NATIVE = {
    "rome": _rome("mixed"),
    "c-rome": _rome("prefixed"),
    "r-rome": _rome("prefixed"),  # with its default keys; --set r-rome.keys=prompt takes the bare key everywhere
    "memit": _Native("memit", "Memit", "MemitHyperparameters", "memit"),
    "emmet": _Native("memit", "Emmet", "EmmetHyperparameters", "emmet"),
    "alphaedit": _Native("alphaedit", "AlphaEdit", "AlphaEditHyperparameters", "alphaedit"),
    "ft": _Native("ft", "FineTuning", "FineTuningHyperparameters", "ft"),
    "ft-unconstrained": _Native(
        "ft", "FineTuning", "FineTuningHyperparameters", "ft-unconstrained", {"norm_constraint": None}
    ),
    "mend": _Native("mend", "Mend", "MendHyperparameters", "mend"),
    "null": _Native("null", "NullEditor", "NullHyperparameters", "null"),
    "noise": _Native("noise", "Noise", "NoiseHyperparameters", "noise"),
}


def editor_names() -> list[str]:
    """Every editor that can be given by name: the native ones and those of installed packages."""
    return sorted({*_NATIVE, *entry_points(group=ENTRY_POINT_GROUP).names})


def check_editor(name: str) -> None:
    """Refuse an `--editor` value that cannot exist, importing nothing but its parent packages.

    Raises:
        UsageError: no editor of that name, or no such module.
    """
    if is_easyedit_name(name):
        algorithm_of(name)
        find_installation()
        return
    if ":" not in name:
        if name not in editor_names():
            close = difflib.get_close_matches(name, editor_names(), n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(
                f"--editor {name!r} is not known: {hint}Give one of {', '.join(editor_names())}, "
                "or your own as package.module:attribute"
            )
        return
    module, _, attribute = name.partition(":")
    try:
        found = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        found = False
    if not found or not attribute.isidentifier():
        raise UsageError(
            f"--editor {name!r}: there is no module {module!r} that can be imported from here, or {attribute!r} is "
            "no name in it; give package.module:attribute and put the package on PYTHONPATH or install it"
        )


def create_editor(name: str, model: str, settings: Settings) -> Editor:
    """The editor behind an `--editor` value, with its hyper-parameters for `model`.

    `module:attr` may be an editor class, an editor, a callable (model, tokenizer, request) that edits in place, or a
    function of the call shape `apply_<method>_to_model`.

    Raises:
        UsageError: no such editor, or hyper-parameters it cannot have.
    """
    check_editor(name)
    if name in _NATIVE:
        return _create_native(name, _NATIVE[name], model, settings)
    if is_easyedit_name(name):
        from collapse_tests.editors.easyedit.editor import create_easyedit_editor

        return create_easyedit_editor(name, settings)
    from collapse_tests.editors.own import adapt

    return adapt(name, _target(name), settings.overrides)


def check_hyperparameters(settings: Settings) -> None:
    """Refuse hyper-parameters that an editor of the run cannot have, before any model is loaded.

    Imports those editors that were given any.

    Raises:
        UsageError: a field does not exist or has a value it cannot have; or the editor cannot be imported.
    """
    for name in dict.fromkeys(override.editor for override in settings.overrides):
        if name in _NATIVE:
            for model in settings.models:
                _native_hyperparameters(name, _NATIVE[name], model, settings)
        elif is_easyedit_name(name):
            from collapse_tests.editors.easyedit.editor import create_easyedit_editor

            create_easyedit_editor(name, settings)  # whether values suit the model shows once that is loaded
        else:
            from collapse_tests.editors.own import check_options

            check_options(name, _target(name), settings.overrides)


def _create_native(name: str, native: _Native, model: str, settings: Settings) -> Editor:
    module = importlib.import_module(f"collapse_tests.editors.{native.module}")
    editor: Editor = getattr(module, native.editor)(name, _native_hyperparameters(name, native, model, settings))
    return editor


def _native_hyperparameters(name: str, native: _Native, model: str, settings: Settings) -> Hyperparameters:
    from collapse_tests.editors.hparams import load_hyperparameters

    module = importlib.import_module(f"collapse_tests.editors.{native.module}")
    schema: type[Hyperparameters] = getattr(module, native.schema)
    preset = tuple(Override(name, field, value) for field, value in native.preset.items())
    return load_hyperparameters(schema, native.method, name, model, (*preset, *settings.overrides))


def _target(name: str) -> Any:
    """What an editor's name points at: an attribute of a module, or an installed package's entry point."""
    module, colon, attribute = name.partition(":")
    if not colon:
        (entry, *_) = entry_points(group=ENTRY_POINT_GROUP, name=name)
        module, attribute = entry.module, entry.attr
    imported = _imported(name, module)
    try:
        return functools.reduce(getattr, attribute.split("."), imported)
    except AttributeError:
        raise UsageError(f"--editor {name!r}: module {module!r} has no attribute {attribute!r}") from None


def _imported(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"--editor {name!r}: importing {module!r} failed: {error}") from error
    except Exception as error:  # a module may do anything when it is imported
        problem = f"{type(error).__name__}: {error}"
        raise UsageError(f"--editor {name!r}: importing {module!r} raised {problem}; correct it there") from error
