"""Hyper-parameters: one YAML file per method and model, validated, overridable field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from collapse_tests.errors import UsageError
from collapse_tests.settings import Override

__all__ = ["Hyperparameters", "load_hyperparameters", "validated"]

H = TypeVar("H", bound="Hyperparameters")
M = TypeVar("M", bound=BaseModel)


class Hyperparameters(BaseModel):
    """Base of a method's hyper-parameters: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def load_hyperparameters(
    schema: type[H], method: str, editor: str, model: str, overrides: Sequence[Override] = ()
) -> H:
    """Hyper-parameters of `method` for `model`.

    Read from `hparams/<method>/<model>.yaml`, or `default.yaml` for a model without a file of its own.

    Args:
        schema: what the fields may be.
        method: folder under `hparams/`.
        editor: name the user gave, which overrides refer to and errors name.
        model: model name.
        overrides: given by the user; those of other editors are ignored.

    Raises:
        UsageError: an override names a field that does not exist or gives it a value it cannot have.
    """
    folder = resources.files("collapse_tests.editors") / "hparams" / method
    file = folder / f"{model}.yaml"
    if "/" in model or "\\" in model or not file.is_file():
        file = folder / "default.yaml"
    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return validated(schema, editor, values, overrides)


def validated(schema: type[M], editor: str, values: Mapping[str, Any], overrides: Sequence[Override] = ()) -> M:
    """Hyper-parameters from a method's own values and those that the user gave, which win.

    Args:
        schema: what the fields may be.
        editor: name the user gave, which overrides refer to and errors name.
        values: by field.
        overrides: those of other editors are ignored; the last of a field counts.

    Raises:
        UsageError: an override names a field that does not exist, or a field has a value it cannot have, or none.
    """
    given = {override.field: override for override in overrides if override.editor == editor}
    _refuse_unknown(schema, editor, given)
    try:
        return schema.model_validate({**values, **{field: override.value for field, override in given.items()}})
    except ValidationError as error:
        raise UsageError(_explain(error, editor, given)) from None


def _refuse_unknown(schema: type[BaseModel], editor: str, given: Mapping[str, Override]) -> None:
    """A misspelt field is an error even where the schema would let it pass unseen."""
    if schema.model_config.get("extra") == "allow":
        return
    aliases = {str(field.alias) for field in schema.model_fields.values() if field.alias}
    for field, override in given.items():
        if field not in schema.model_fields and field not in aliases:
            known = ", ".join(schema.model_fields) or "none"
            raise UsageError(f"{override.place}: {editor} has no such field; it has {known}")


def _explain(error: ValidationError, editor: str, given: Mapping[str, Override]) -> str:
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    problem = " ".join(first["msg"].split())
    if field in given:
        override = given[field]
        shown = f"={override.value}" if override.source == "--set" else f": {override.value!r}"
        return f"{override.place}{shown}: {problem}"
    if first["type"] == "missing":
        return f"{editor}.{field} has no value; give one with --set {editor}.{field}=VALUE or --editor-config FILE"
    return f"{editor}.{field}: {problem}" if field else f"{editor}: {problem}"
