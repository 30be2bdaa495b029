"""Measurements as plain data for JSON and between processes: numbers that are not finite become words, and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

__all__ = ["encode", "number", "numbers_into"]

_T = TypeVar("_T")

_AS_IS = frozenset({str, int, bool, type(None)})

_NON_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def encode(value: Any) -> Any:
    """`value` as strict JSON data: dictionaries, lists, text and numbers; inf and NaN become text.

    A dataclass becomes a dictionary of its fields. `dataclasses.asdict` would copy everything once more, which is felt
    where records come by the hundred thousand.
    """
    if type(value) in _AS_IS:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _word(value)
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {name: encode(getattr(value, name)) for name in _fields(value.__class__)}
    return value.value if isinstance(value, StrEnum) else value  # xdist's serialiser takes no subclass of str


def _word(value: float) -> str:
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def number(value: float | str) -> float:
    """The number that `encode` made `value` of.

    Raises:
        KeyError: a text that stands for no number.
    """
    return _NON_FINITE[value] if isinstance(value, str) else float(value)


def numbers_into(cls: type[_T], data: Mapping[str, Any]) -> _T:
    """A `cls` of encoded numbers; for classes none of whose fields holds text, so that every text is a number."""
    return cls(**{name: number(value) if isinstance(value, str) else value for name, value in data.items()})
