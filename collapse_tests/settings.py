"""What one run was asked to do: the frozen result of parsing every option."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DEFAULT_EDITS", "DEFAULT_MODEL", "DEFAULT_PPL_LIMIT", "DEFAULT_PPL_TEXTS", "Override", "Settings"]

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_EDITS = "smoke"
DEFAULT_PPL_TEXTS = "default"
DEFAULT_PPL_LIMIT = 1000.0


@dataclass(frozen=True, slots=True)
class Override:
    """A hyper-parameter that the user gave, by `--set EDITOR.FIELD=VALUE` or in a file of `--editor-config`.

    Attributes:
        editor: name as given to `--editor`.
        field: of its hyper-parameters.
        value: what YAML makes of the text: a number, a boolean, a list, a mapping or a string.
        source: where it was given, for messages: `--set`, or `--editor-config` and the file.
    """

    editor: str
    field: str
    value: object
    source: str = "--set"

    @property
    def place(self) -> str:
        """How messages begin that are about this field, without the value."""
        return f"{self.source}{' ' if self.source == '--set' else ': '}{self.editor}.{self.field}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Every option of a run, validated and with its default filled in.

    Attributes:
        editors: editor names, in the order given, without duplicates.
        models: model names, directories or hub ids, likewise.
        edits: names of shipped request sets or paths of request files, likewise.
        edits_limit: keep at most this many requests, the first ones, or None.
        edits_sample: keep this many requests drawn with `seed`, or None.
        ppl_limit: ME-PPL at or above this is a collapse.
        ppl_texts: `default` for the shipped sentences, or a path.
        device: `auto`, `cpu`, `cuda` or `cuda:n`.
        dtype: `float32`, `bfloat16`, `float16` or `float64`.
        matmul_precision: `auto`, `float32`, `tf32` or `bfloat16`: what float32 matrix products are rounded to.
        seed: seeds the context templates, `edits_sample` and every editor.
        batch_size: requests edited together, or None to choose by the device.
        fail_ineffective: whether an edit that does not take fails its test.
        reports_dir: directory in which each run makes its own.
        overrides: hyper-parameters given by the user, those in files first; a later one of a field wins.
    """

    editors: tuple[str, ...]
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    edits: tuple[str, ...] = (DEFAULT_EDITS,)
    edits_limit: int | None = None
    edits_sample: int | None = None
    ppl_limit: float = DEFAULT_PPL_LIMIT
    ppl_texts: str = DEFAULT_PPL_TEXTS
    device: str = "auto"
    dtype: str = "float32"
    matmul_precision: str = "auto"
    seed: int = 0
    batch_size: int | None = None
    fail_ineffective: bool = False
    reports_dir: Path = field(default_factory=lambda: Path("reports"))
    overrides: tuple[Override, ...] = ()
