"""Text of one option → its value; whatever the option, the message says what is wrong and what to give."""

from __future__ import annotations

import math
import os
import re

from collapse_tests.errors import UsageError
from collapse_tests.settings import Override

__all__ = [
    "AUTO",
    "DTYPES",
    "MATMUL_PRECISIONS",
    "parse_batch_size",
    "parse_device",
    "parse_dtype",
    "parse_matmul_precision",
    "parse_names",
    "parse_overrides",
    "parse_path",
    "parse_positive_integer",
    "parse_ppl_limit",
    "parse_seed",
]

AUTO = "auto"
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
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise UsageError(f"{text!r} is no positive finite number; give a perplexity such as 1000")
    return number


def parse_device(text: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:n`.

    Raises:
        UsageError: `text` is something else.
    """
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", text) is None:
        raise UsageError(f"{text!r} is no device; give auto, cpu, cuda or, for one GPU of several, cuda:1")
    return text


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


def parse_overrides(text: str) -> list[Override]:
    """`EDITOR.FIELD=VALUE` → a list of one `Override`; the value is read as YAML, and `5e-4` is a number.

    Raises:
        UsageError: the text has another form.
    """
    import yaml

    match = re.fullmatch(r"(?P<editor>[^=]+)\.(?P<field>[A-Za-z_]\w*)=(?P<value>.*)", text.strip(), re.DOTALL)
    if match is None or not match["value"].strip():
        raise UsageError(f"{text!r} is not of the form EDITOR.FIELD=VALUE; give for example rome.v_lr=0.5")
    try:
        value = yaml.safe_load(match["value"])
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UsageError(f"{text!r} has a value that is not YAML ({problem}); quote it or correct it") from None
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+", match["value"].strip()):
        value = float(match["value"])  # YAML 1.1 wants a dot and a sign in an exponent and takes 5e-4 for text
    return [Override(match["editor"].strip(), match["field"], value)]
