"""Measurements as plain data for JSON and between processes: numbers that are not finite become words, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

__all__ = ["encode", "number", "numbers_into"]

_T = TypeVar("_T")

_NON_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def encode(value: Any) -> Any:
    """`value` as strict JSON data: dictionaries, lists, text and numbers; inf and NaN become text."""
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value  # xdist's serialiser takes no subclass of str
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def number(value: float | str) -> float:
    """The number that `encode` made `value` of.

    Raises:
        KeyError: a text that stands for no number.
    """
    return _NON_FINITE[value] if isinstance(value, str) else float(value)


def numbers_into(cls: type[_T], data: Mapping[str, Any]) -> _T:
    """A `cls` of encoded numbers; for classes none of whose fields holds text, so that every text is a number."""
    return cls(**{name: number(value) if isinstance(value, str) else value for name, value in data.items()})
