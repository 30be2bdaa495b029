"""Text of one option → its value; whatever the option, the message says what is wrong and what to give."""

from __future__ import annotations

import math
import os
import re

from collapse_tests.errors import UsageError
from collapse_tests.settings import Downstream

__all__ = [
    "AUTO",
    "DEVICE_MAPS",
    "DTYPES",
    "MATMUL_PRECISIONS",
    "parse_batch_size",
    "parse_device",
    "parse_device_map",
    "parse_downstream",
    "parse_dtype",
    "parse_growth",
    "parse_matmul_precision",
    "parse_names",
    "parse_path",
    "parse_positive_integer",
    "parse_ppl_limit",
    "parse_ray_address",
    "parse_seconds",
    "parse_seed",
    "parse_tolerance",
    "parse_whole_number",
]

AUTO = "auto"
DEVICE_MAPS = ("none", AUTO)
DTYPES = ("float32", "bfloat16", "float16", "float64")
MATMUL_PRECISIONS = (AUTO, "float32", "tf32", "bfloat16")
_MAX_SEED = 2**32 - 1  # what every random generator a run may seed accepts


def parse_names(text: str) -> list[str]:
    """A comma list; the whole text, if that is a file whose name holds a comma.

    Raises:
        UsageError: a name is empty.
    """
    if "," in text and os.path.exists(text):  # noqa: PTH110 - Path.exists raises on a long list
        return [text]
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"{text!r} has an empty name in it; give names separated by single commas")
    return names


def parse_positive_integer(text: str) -> int:
    """A whole number from 1.

    Raises:
        UsageError: `text` is something else.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise UsageError(f"{text!r} is no positive whole number; give 1 or more")
    return number


def parse_whole_number(text: str) -> int:
    """A whole number from 0.

    Raises:
        UsageError: `text` is something else.
    """
    if re.fullmatch(r"[0-9]{1,9}", text) is None:
        raise UsageError(f"{text!r} is no whole number from 0; give 0 or more")
    return int(text)


def parse_batch_size(text: str) -> int | str:
    """A whole number from 1, or `auto`.

    Raises:
        UsageError: `text` is something else.
    """
    if text == AUTO:
        return text
    try:
        return parse_positive_integer(text)
    except UsageError:
        raise UsageError(f"{text!r} is neither auto nor a positive whole number; give auto, or 1 or more") from None


def parse_seed(text: str) -> int:
    """A whole number that every random generator accepts as a seed.

    Raises:
        UsageError: `text` is something else.
    """
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= _MAX_SEED:
        raise UsageError(f"{text!r} is no seed; give a whole number from 0 to {_MAX_SEED}")
    return number


def parse_ppl_limit(text: str) -> float:
    """A positive finite number.

    Raises:
        UsageError: `text` is something else.
    """
    return _number_above(text, 0, "no positive finite number; give a perplexity such as 1000")


def parse_growth(text: str) -> float:
    """A finite number above 1.

    Raises:
        UsageError: `text` is something else.
    """
    return _number_above(text, 1, "no finite number above 1; give a factor such as 1.5")


def parse_tolerance(text: str) -> float:
    """A finite number above 1.

    Raises:
        UsageError: `text` is something else.
    """
    return _number_above(text, 1, "no finite number above 1; give a factor such as 1.05")


def parse_seconds(text: str) -> float:
    """A positive finite number.

    Raises:
        UsageError: `text` is something else.
    """
    return _number_above(text, 0, "no positive finite number; give seconds such as 600")


def _number_above(text: str, bound: float, remedy: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > bound):
        raise UsageError(f"{text!r} is {remedy}")
    return number


def parse_ray_address(text: str) -> str:
    """`auto`, or `host:port` of a cluster's head.

    Raises:
        UsageError: `text` is something else.
    """
    if text == AUTO:
        return text
    if text.startswith("ray://"):
        raise UsageError(
            f"{text!r} is an address of Ray Client; start pytest on a machine of the cluster, for instance by "
            "ray job submit, and give auto"
        )
    if re.fullmatch(r"[^\s/]+:[0-9]{1,5}", text) is None:
        raise UsageError(f"{text!r} is no address of a Ray cluster; give auto, or host:port such as 10.0.0.1:6379")
    return text


def parse_downstream(text: str) -> Downstream:
    """One of `Downstream`.

    Raises:
        UsageError: `text` is something else.
    """
    return Downstream(_one_of(text, tuple(str(mode) for mode in Downstream), "time to measure tasks"))


def parse_device(text: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:n`.

    Raises:
        UsageError: `text` is something else.
    """
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", text) is None:
        raise UsageError(f"{text!r} is no device; give auto, cpu, cuda or, for one GPU of several, cuda:1")
    return text


def parse_device_map(text: str) -> str:
    """One of `DEVICE_MAPS`.

    Raises:
        UsageError: `text` is something else.
    """
    return _one_of(text, DEVICE_MAPS, "device map")


def parse_dtype(text: str) -> str:
    """One of `DTYPES`.

    Raises:
        UsageError: `text` is something else.
    """
    return _one_of(text, DTYPES, "dtype")


def parse_matmul_precision(text: str) -> str:
    """One of `MATMUL_PRECISIONS`.

    Raises:
        UsageError: `text` is something else.
    """
    return _one_of(text, MATMUL_PRECISIONS, "matmul precision")


def _one_of(text: str, choices: tuple[str, ...], what: str) -> str:
    if text not in choices:
        raise UsageError(f"{text!r} is no {what}; give one of {', '.join(choices)}")
    return text


def parse_path(text: str) -> str:
    """Any text but white space, with a leading `~` expanded.

    Raises:
        UsageError: `text` is something else.
    """
    if not text.strip():
        raise UsageError(f"{text!r} is empty; give a path, or leave the option out")
    return os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises on an unknown user
