"""Editor names to editors, resolved late: names are checked without importing any framework."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from collapse_tests.errors import UsageError
from collapse_tests.settings import Override, Settings

if TYPE_CHECKING:
    from collapse_tests.editors.protocol import Editor

__all__ = ["ENTRY_POINT_GROUP", "check_editor", "create_editor", "editor_names"]

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
}


def editor_names() -> list[str]:
    """Every editor that can be given by name: the native ones and those of installed packages."""
    return sorted({*_NATIVE, *entry_points(group=ENTRY_POINT_GROUP).names})


def check_editor(name: str) -> None:
    """Refuse an `--editor` value that cannot exist, importing nothing but its parent packages.

    Raises:
        UsageError: no editor of that name, or no such module.
    """
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

    `module:attr` may be an editor class, an editor, or a callable (model, tokenizer, request) that edits in place.

    Raises:
        UsageError: no such editor, or hyper-parameters it cannot have.
    """
    check_editor(name)
    if name in _NATIVE:
        return _create_native(name, _NATIVE[name], model, settings)
    if ":" in name:
        target = _load(name, name)
    else:
        (entry, *_) = entry_points(group=ENTRY_POINT_GROUP, name=name)
        target = entry.load()
    return _adapt(name, target)


def _create_native(name: str, native: _Native, model: str, settings: Settings) -> Editor:
    from collapse_tests.editors.hparams import load_hyperparameters

    module = importlib.import_module(f"collapse_tests.editors.{native.module}")
    preset = tuple(Override(name, field, value) for field, value in native.preset.items())
    schema = getattr(module, native.schema)
    hyperparameters = load_hyperparameters(schema, native.method, name, model, (*preset, *settings.overrides))
    editor: Editor = getattr(module, native.editor)(name, hyperparameters)
    return editor


def _load(name: str, path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError:
        raise UsageError(f"--editor {name!r}: module {module!r} has no attribute {attribute!r}") from None
    except ImportError as error:
        raise UsageError(f"--editor {name!r}: importing {module!r} failed: {error}") from error


def _adapt(name: str, target: Any) -> Editor:
    from collapse_tests.editors.in_place import InPlaceEditor
    from collapse_tests.editors.protocol import Editor

    editor = target() if isinstance(target, type) else target
    if isinstance(editor, Editor):
        return editor
    if callable(editor):
        return InPlaceEditor(name, editor)
    raise UsageError(
        f"--editor {name!r} is a {type(editor).__name__}: neither an editor (with `name` and `compute_updates`) "
        "nor a callable (model, tokenizer, request)"
    )
