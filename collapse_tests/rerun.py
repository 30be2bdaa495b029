"""The command line that runs one case again."""

from __future__ import annotations

import dataclasses
import re
import shlex

from collapse_tests.cases import Case
from collapse_tests.settings import Settings

__all__ = ["rerun_command"]

#: What pytest's `-k` takes as one word.
_KEYWORD = re.compile(r"[\w:+\-.\[\]\\/]+")


def rerun_command(case: Case, settings: Settings) -> str:
    """A `pytest` command that runs just this case, with every option that is not the default."""
    words = ["pytest", "--editor", case.editor, "--model", case.model, "--edits", ",".join(settings.edits)]
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    for name in ("edits_limit", "edits_sample", "ppl_limit", "ppl_texts", "device", "dtype", "seed", "batch_size"):
        value = getattr(settings, name)
        if value != defaults[name]:
            words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    words += ["--tf32"] if settings.tf32 else []
    words += ["--fail-ineffective"] if settings.fail_ineffective else []
    for override in settings.overrides:
        words += ["--set", f"{override.editor}.{override.field}={override.value}"]
    exact = f"[{case.id}]"
    words += ["-k", exact if _KEYWORD.fullmatch(exact) else case.edit_id]
    return shlex.join(words)
