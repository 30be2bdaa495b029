"""Hyper-parameters as the command line and YAML files give them → overrides."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from collapse_tests.errors import UsageError
from collapse_tests.option_values import parse_path
from collapse_tests.settings import Override
from collapse_tests.yaml_values import yaml_loader

__all__ = ["ConfigFile", "parse_config_file", "parse_overrides", "read_config_file"]


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
