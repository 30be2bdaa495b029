"""Editors of the user's: whatever a name points at, made into an editor, with the hyper-parameters it declares."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from collapse_tests.editors.apply_function import ApplyFunctionEditor, is_apply_function
from collapse_tests.editors.hparams import validated
from collapse_tests.editors.in_place import InPlaceEditor
from collapse_tests.editors.protocol import Editor
from collapse_tests.errors import UsageError
from collapse_tests.settings import Override

__all__ = ["adapt", "check_options"]

_DECLARE = (
    "declare a pydantic model as the attribute `Hyperparameters` of a class, which is then made with one, "
    "or give a function a parameter `config`"
)


def adapt(name: str, target: Any, overrides: Sequence[Override] = ()) -> Editor:
    """`target` as an editor.

    A class is made first: with its hyper-parameters if it has an attribute `Hyperparameters`, else with nothing.
    What then has `compute_updates` is an editor. A function of the call shape `apply_<method>_to_model` gets what was
    given as attributes of its hyper-parameters. Any other callable edits in place, called with (model, tokenizer,
    request) and, if it has a parameter of that name, with `config`, a mapping.

    Args:
        name: of the editor, for errors and overrides.
        target: the class, object or function.
        overrides: those of other editors are ignored.

    Raises:
        UsageError: it is nothing of that kind, or cannot have the hyper-parameters given.
    """
    given = _given(name, overrides)
    schema = _schema(name, target)
    editor = _made(name, target, schema, overrides) if isinstance(target, type) else target
    if schema is None and is_apply_function(editor):
        return ApplyFunctionEditor(name, editor, _values(given))
    if schema is None and not (callable(editor) and _takes_config(editor)):
        _refuse_all(name, given)
    if isinstance(editor, Editor):
        return editor
    if callable(editor):
        return InPlaceEditor(name, editor if schema is not None else _with_config(editor, _values(given)))
    raise UsageError(
        f"--editor {name!r} is a {type(editor).__name__}: neither an editor (with `name` and `compute_updates`) "
        "nor a callable (model, tokenizer, request)"
    )


def check_options(name: str, target: Any, overrides: Sequence[Override]) -> None:
    """Refuse hyper-parameters that `target` cannot have, as far as shows before an object of its class is made.

    Raises:
        UsageError: it declares none, or others.
    """
    schema = _schema(name, target)
    if schema is not None:
        validated(schema, name, {}, overrides)
    elif hasattr(target, "compute_updates") or not (
        isinstance(target, type) or is_apply_function(target) or _takes_config(target)
    ):
        _refuse_all(name, _given(name, overrides))


def _given(name: str, overrides: Sequence[Override]) -> dict[str, Override]:
    return {override.field: override for override in overrides if override.editor == name}


def _values(given: Mapping[str, Override]) -> dict[str, object]:
    return {field: override.value for field, override in given.items()}


def _refuse_all(name: str, given: Mapping[str, Override]) -> None:
    for override in given.values():
        raise UsageError(f"{override.place}: {name} has no hyper-parameters; leave it out, or {_DECLARE}")


def _schema(name: str, target: Any) -> type[BaseModel] | None:
    """The hyper-parameters that a class declares, or None."""
    schema = getattr(target, "Hyperparameters", None) if isinstance(target, type) else None
    if schema is not None and not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        raise UsageError(
            f"--editor {name!r}: its attribute Hyperparameters is no pydantic model; derive it from "
            "collapse_tests.editors.hparams.Hyperparameters"
        )
    return schema


def _made(name: str, kind: type, schema: type[BaseModel] | None, overrides: Sequence[Override]) -> Any:
    arguments = () if schema is None else (validated(schema, name, {}, overrides),)
    try:
        inspect.signature(kind).bind(*arguments)
    except TypeError as error:
        how = "without arguments" if schema is None else "with its hyper-parameters alone"
        raise UsageError(f"--editor {name!r}: a {kind.__name__} cannot be made {how}: {error}; {_DECLARE}") from None
    except ValueError:  # a class that does not tell what it takes
        pass
    return kind(*arguments)


def _takes_config(function: Any) -> bool:
    try:
        return "config" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _with_config(function: Callable[..., object], values: Mapping[str, object]) -> Callable[..., object]:
    """`function`, given its options; each call gets its own copy, so that no edit depends on those before it."""
    if not _takes_config(function):
        return function
    if not values and inspect.signature(function).parameters["config"].default is not inspect.Parameter.empty:
        return function
    return lambda *arguments: function(*arguments, config=copy.deepcopy(dict(values)))
