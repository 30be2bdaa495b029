"""Hyper-parameters: one YAML file per method and model, validated, overridable field by field."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from collapse_tests.errors import UsageError
from collapse_tests.settings import Override

__all__ = ["Hyperparameters", "load_hyperparameters"]

H = TypeVar("H", bound="Hyperparameters")


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
        overrides: from `--set`; those of other editors are ignored.

    Raises:
        UsageError: an override names a field that does not exist or gives it a value it cannot have.
    """
    folder = resources.files("collapse_tests.editors") / "hparams" / method
    file = folder / f"{model}.yaml"
    if "/" in model or "\\" in model or not file.is_file():
        file = folder / "default.yaml"
    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    given = {override.field: override.value for override in overrides if override.editor == editor}
    try:
        return schema.model_validate(values | given)
    except ValidationError as error:
        raise UsageError(_explain(error, schema, editor, given)) from None


def _explain(error: ValidationError, schema: type[Hyperparameters], editor: str, given: dict[str, Any]) -> str:
    first = error.errors()[0]
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return f"--set {editor}.{field}: {editor} has no such field; it has {', '.join(schema.model_fields)}"
    problem = f"--set {editor}.{field}={given[field]}" if field in given else f"{editor}.{field}"
    return f"{problem}: {first['msg']}"
