"""Text of one option → its value; whatever the option, the message says what is wrong and what to give."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from collapse_tests.errors import UsageError
from collapse_tests.settings import Downstream, Override
from collapse_tests.yaml_values import yaml_loader

__all__ = [
    "AUTO",
    "DEVICE_MAPS",
    "DTYPES",
    "MATMUL_PRECISIONS",
    "ConfigFile",
    "parse_batch_size",
    "parse_config_file",
    "parse_device",
    "parse_device_map",
    "parse_downstream",
    "parse_dtype",
    "parse_growth",
    "parse_matmul_precision",
    "parse_names",
    "parse_overrides",
    "parse_path",
    "parse_positive_integer",
    "parse_ppl_limit",
    "parse_ray_address",
    "parse_seconds",
    "parse_seed",
    "parse_tolerance",
    "parse_whole_number",
    "read_config_file",
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


def parse_overrides(text: str) -> list[Override]:
    """`EDITOR.FIELD=VALUE` → a list of one `Override`; the value is read as YAML.

    Raises:
        UsageError: the text has another form.
    """
    import yaml

    match = re.fullmatch(r"(?P<editor>[^=]+)\.(?P<field>[A-Za-z_]\w*)=(?P<value>.*)", text.strip(), re.DOTALL)
    if match is None or not match["value"].strip():
        raise UsageError(f"{text!r} is not of the form EDITOR.FIELD=VALUE; give for example rome.v_lr=0.5")
    try:
        value = yaml.load(match["value"], yaml_loader())
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UsageError(f"{text!r} has a value that is not YAML ({problem}); quote it or correct it") from None
    return [Override(match["editor"].strip(), match["field"], value)]


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One `--editor-config [EDITOR=]FILE`.

    Attributes:
        editor: whose hyper-parameters it holds, or None for the only editor of the run.
        path: of the file, as given.
    """

    editor: str | None
    path: str

    @property
    def source(self) -> str:
        """How messages name it."""
        return f"--editor-config {self.path}"


def parse_config_file(text: str) -> list[ConfigFile]:
    """`[EDITOR=]FILE` → a list of one `ConfigFile`; a text that names a file as a whole holds no editor.

    Raises:
        UsageError: `text` is something else.
    """
    editor, equals, path = text.partition("=")
    if not equals or os.path.exists(os.path.expanduser(text)):  # noqa: PTH110, PTH111 - a text of any kind
        return [ConfigFile(None, parse_path(text))]
    if not editor.strip() or not path.strip():
        raise UsageError(f"{text!r} is not of the form [EDITOR=]FILE; give for example rome=rome.yaml")
    return [ConfigFile(editor.strip(), parse_path(path.strip()))]


def read_config_file(file: ConfigFile, editors: tuple[str, ...]) -> list[Override]:
    """The fields of a YAML file of hyper-parameters, as overrides.

    Args:
        file: which file, and whose.
        editors: of the run.

    Raises:
        UsageError: the file is unusable, or it is not clear or not possible whose hyper-parameters it holds.
    """
    if file.editor is None and len(editors) > 1:
        raise UsageError(
            f"{file.source} does not say for which of {', '.join(editors)} it is; give EDITOR={file.path}, "
            f"for example {editors[0]}={file.path}"
        )
    editor = file.editor or editors[0]
    if editor not in editors:
        raise UsageError(f"{file.source}: no editor {editor!r} in this run; it has {', '.join(editors)}")
    return [Override(editor, field, value, file.source) for field, value in _read_mapping(file).items()]


def _read_mapping(file: ConfigFile) -> dict[str, object]:
    import yaml

    try:
        text = Path(file.path).read_text(encoding="utf-8-sig")
        values = yaml.load(text, yaml_loader())
    except FileNotFoundError:
        raise UsageError(f"{file.source}: there is no such file; give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file.source} is not UTF-8; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file.source} cannot be read ({error}); give a readable YAML file") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{file.source} is not YAML ({' '.join(str(error).split())}); correct it there") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(
            f"{file.source} holds a {type(values).__name__}, not a mapping; write one `field: value` a line"
        )
    for field in values:
        if not (isinstance(field, str) and field.isidentifier()):
            raise UsageError(f"{file.source}: {field!r} is no name of a field; write `field: value`")
    return values
